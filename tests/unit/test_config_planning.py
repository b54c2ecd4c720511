"""What a command changes, and how documents look as text."""

from hashlib import sha256

from hypothesis import example, given
from hypothesis import strategies as st

from deskline.config.documents import DOCUMENTS, LimitsDocument, body_of, default_document
from deskline.config.loading import KINDS
from deskline.config.planning import Stored, numbered, plan_directory, plan_shop
from deskline.config.rendering import as_yaml, difference
from deskline.config.yaml_source import read

DEFAULTS = {kind: body_of(default_document(kind)) for kind in KINDS}


def limits(patience_s):
    return body_of(LimitsDocument(patience_s=patience_s))


def stored(version, body, *, inherited=False):
    return Stored(version, sha256(body).hexdigest(), inherited)


def seen(changes):
    return [(c.shop_id, c.document, c.inherited, None if c.replaces is None else c.replaces.version) for c in changes]


def test_default_comes_first_then_shops_by_id():
    desired = {"a": {"limits": limits(1)}, "_default": DEFAULTS, "Z": {"limits": limits(2)}}
    changes = plan_directory(desired, {})
    assert seen(changes) == [
        *(("_default", kind, False, None) for kind in KINDS),
        ("Z", "limits", False, None),
        ("a", "limits", False, None),
    ]
    assert numbered(changes, {"a": 4}) == {"_default": 1, "Z": 1, "a": 5}


def test_equal_documents_are_left_alone():
    have = {("_default", kind): stored(3, body) for kind, body in DEFAULTS.items()}
    assert plan_directory({"_default": DEFAULTS}, have) == []


def test_a_document_given_up_follows_default_from_then_on():
    have = {("_default", kind): stored(1, body) for kind, body in DEFAULTS.items()}
    have["a", "limits"] = stored(1, limits(9))
    assert seen(plan_directory({"_default": DEFAULTS}, have)) == [("a", "limits", True, 1)]
    have["a", "limits"] = stored(2, DEFAULTS["limits"], inherited=True)
    assert plan_directory({"_default": DEFAULTS}, have) == []
    newer = DEFAULTS | {"limits": limits(5)}
    assert seen(plan_directory({"_default": newer}, have)) == [("_default", "limits", False, 1), ("a", "limits", True, 2)]  # fmt: skip
    taken_up = {"_default": DEFAULTS, "a": {"limits": limits(7)}}
    assert seen(plan_directory(taken_up, have)) == [("a", "limits", False, 2)]


def test_one_shop_alone_changes_only_what_is_asked():
    have = {("a", "limits"): stored(2, limits(1)), ("a", "sla"): stored(2, DEFAULTS["sla"])}
    desired = {"limits": limits(2), "sla": DEFAULTS["sla"]}
    assert seen(plan_shop("a", desired, frozenset(), have)) == [("a", "limits", False, 2)]


def test_a_difference_shows_the_lines_that_changed():
    lines = list(difference(LimitsDocument(), LimitsDocument(patience_s=4.5, queue_limit=9), "old", "new"))
    changed = [line for line in lines if line[0] in "+-" and line[:3] not in {"---", "+++"}]
    assert changed == ["-patience_s: 3", "+patience_s: 4.5", "+queue_limit: 9"]
    assert next(iter(difference(None, LimitsDocument(), "(none)", "new"))) == "--- (none)"


# The scalars that YAML 1.1 and 1.2 read differently, and what a shop's manager may call things.
tricky = st.sampled_from(["on", "no", "1001", "007", "1e3", "0x1f", "12:30", "2026-10-01", "null", "~", "=", "<<", "#1", "- a", "a: b", "退款", "é", "'", '"', "1_000", ".5", "+4", "!x", "&a", "*a", "%", "@", "`", "[", "{", "?", "|", ">", "😀"])  # fmt: skip
names = tricky | st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20).filter(lambda text: text.strip() == text)  # fmt: skip


@example(names=["on"], texts=["\x85"])
@example(names=["a"], texts=["a\u2028b \ufeff"])
@given(names=st.lists(names, min_size=1, max_size=5, unique=True), texts=st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40), max_size=3))  # fmt: skip
def test_what_is_shown_reads_back_as_the_same_document(names, texts):
    agents = DOCUMENTS["agents"].model_validate(
        {
            "agents": [
                {"agent_id": name, "name": texts[0] if texts else "", "skills": {name: 3}, "languages": [name]}
                for name in names
            ]
        }
    )
    source = read(as_yaml(agents).encode())
    assert source.mistakes == []
    assert DOCUMENTS["agents"].model_validate(source.value) == agents
