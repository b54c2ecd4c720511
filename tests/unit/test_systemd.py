"""deploy/systemd: verified by systemd, confined by its own measure, and true of the command line."""

import re
import shutil
import subprocess

import pytest
from tests.fixtures.image import ROOT

from deskline.settings import ServiceSettings
from deskline_router.settings import RouterSettings

UNITS = ROOT / "deploy" / "systemd"
SERVICES = ("archive", "autoreply", "router", "sla")


@pytest.fixture
def units(tmp_path):
    """As they would lie in /etc/systemd/system, with an executable that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS.iterdir():
        text = unit.read_text(encoding="utf-8").replace("/opt/deskline/bin/deskline", "/bin/true")
        names = [f"deskline@{service}.service" for service in SERVICES] if "@" in unit.name else []
        for name in (unit.name, *names):
            (tmp_path / name).write_text(text)
    return tmp_path


def analyze(folder, *words):
    return subprocess.run(
        ["systemd-analyze", *words], env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_systemd_has_nothing_to_say(units):
    files = sorted(str(file) for file in units.iterdir() if file.name != "deskline@.service")
    done = analyze(units, "verify", "--man=no", *files)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (units / "deskline-topics.service").write_text("[Service]\nType=sometimes\nExecStart=/nowhere\n")
    assert analyze(units, "verify", "--man=no", str(units / "deskline-topics.service")).stderr != ""


@pytest.mark.parametrize(
    "name",
    [
        "deskline@sla.service",
        "deskline-migrate.service",
        "deskline-topics.service",
        "deskline-verify-decisions.service",
    ],
)
def test_exposure_is_low(units, name):
    done = analyze(units, "security", "--offline=true", "--threshold=20", str(units / name))
    assert done.returncode == 0, done.stdout


def test_they_know_the_settings_and_stop_in_time():
    known = {f"DESKLINE_{field.upper()}" for field in ServiceSettings.model_fields} | {"DESKLINE_SERVICE"}
    known |= {f"DESKLINE_ROUTER_{field.upper()}" for field in RouterSettings.model_fields}
    for unit in UNITS.glob("*.service"):
        assert set(re.findall(r"\b(DESKLINE_[A-Z_]+?)(?:_FILE)?=", unit.read_text())) <= known, unit
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", (UNITS / "deskline@.service").read_text(), flags=re.MULTILINE)
    assert int(stop) > 2 * ServiceSettings.model_fields["drain_s"].default + 10
