"""What an installation from a wheel has, with no checkout beside it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "examples" / "config"
BUILD = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
FIND = "from deskline.stack.stack import sample_config; print(sample_config())"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The content of the wheel, in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, folder], cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder / "installed")
    return folder / "installed"


def test_it_finds_its_own_sample_configuration_wherever_it_runs(installed, tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {FIND}"],
        cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    path = Path(found.stdout.strip())
    assert path.is_relative_to(installed)
    names = {file.relative_to(SAMPLES) for file in SAMPLES.rglob("*") if file.is_file()}
    assert {file.relative_to(path) for file in path.rglob("*") if file.is_file()} == names
    assert all((path / name).read_bytes() == (SAMPLES / name).read_bytes() for name in names)


def test_it_has_every_file_of_the_packages(installed):
    roots = [ROOT / "shared", *(ROOT / "services" / name for name in ("archive", "autoreply", "router", "sla"))]
    files = {
        file.relative_to(root)
        for root in roots
        for file in root.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in files if not (installed / name).is_file()} == set()
