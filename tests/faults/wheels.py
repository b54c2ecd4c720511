"""Wheels of two versions, laid out in folders from which a service can be run: ``PYTHONPATH`` before the environment's own packages.

What a version needs beside itself is taken from the environment of the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREVIOUS = os.environ.get("DESKLINE_PREVIOUS", "787bec2")
"""A revision of the repository, or a wheel's path. Before the first release: a commit with fewer migrations than today's tree."""
_BUILD = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"


def unpacked(folder: Path, tree: Path | None = None) -> Path:
    """The content of the wheel of ``PREVIOUS``, or of this source tree; skips by name where its history is not here."""
    folder.mkdir(parents=True)
    wheel = Path(PREVIOUS)
    if tree is None and wheel.suffix != ".whl":
        tree = folder / "source"
        tree.mkdir()
        archive = subprocess.run(["git", "archive", PREVIOUS], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode != 0:
            pytest.skip(
                f"{PREVIOUS} is not in this clone's history; fetch it, or name a revision or wheel: DESKLINE_PREVIOUS"
            )
        subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, check=True)
    if tree is not None:
        subprocess.run([sys.executable, "-c", _BUILD, folder], cwd=tree, check=True, capture_output=True, timeout=120)
        (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder / "installed")
    return folder / "installed"


def words(installed: Path, *arguments: str) -> list[str]:
    """What runs a command of that version."""
    return ["env", f"PYTHONPATH={installed}", sys.executable, "-m", "deskline", *arguments]
