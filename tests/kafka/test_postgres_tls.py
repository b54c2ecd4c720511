"""A PostgreSQL that takes nobody without TLS: every service works with its own login, and trusts one authority alone.

The embedded PostgreSQL is built without TLS; this one is the system's own package (Debian: ``postgresql``).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from tests.fixtures.certificates import self_signed

from deskline.errors import TransientError
from deskline.logins import login_of
from deskline.postgres import connect
from deskline.settings import ServiceSettings
from deskline.stack import postgres as embedded
from deskline.stack.files import free_ports
from deskline.stack.http import get

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
SERVICES = ("archive", "autoreply", "router", "sla")
PASSWORDS = {name: f"planted-of-{name}" for name in (*SERVICES, "config")}


@pytest.fixture
def server(monkeypatch):
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        pytest.skip("no PostgreSQL that is built with TLS; install the system's own (Debian: postgresql)")
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with tempfile.TemporaryDirectory(prefix="deskline-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        server = embedded.EmbeddedPostgres(Path(folder) / "postgres", durable=False, dies_with_parent=True)
        server.prepare()
        data = server.directory / "data"
        for name, content in zip(("server.key", "server.crt"), self_signed(), strict=True):
            (data / name).write_bytes(content)
            (data / name).chmod(0o600)
            shutil.chown(data / name, data.owner(), data.group())
        with (data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        server.spawn()
        server.wait_ready()
        yield server
        server.stop("immediate")


def _deskline(*words, env):
    done = subprocess.run(
        [sys.executable, "-m", "deskline", *words],
        env=os.environ | env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "planted" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


def _start(service, env, log):
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "deskline", service], env=os.environ | env, stdout=file, stderr=file
        )


@pytest.fixture
def authorities(server, tmp_path):
    """(the certificate that has signed the server's, one that has not), files."""
    ours, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    ours.write_bytes((server.directory / "data" / "server.crt").read_bytes())
    other.write_bytes(self_signed()[1])
    return ours, other


async def test_each_service_works_over_tls_with_a_server_of_its_authority_and_with_no_other(
    server, authorities, settings, tmp_path, eventually
):
    def dsn(name, authority=authorities[0], mode="verify-full"):
        login = f"{login_of(name)}@127.0.0.1:{server.port}/{embedded.DATABASE}"
        return f"postgresql://{login}?sslmode={mode}&sslrootcert={authority}"

    logins = tmp_path / "logins"
    logins.mkdir()
    for name, password in PASSWORDS.items():
        (logins / name).write_text(password)
    admin = f"{server.dsn}?sslmode=verify-full&sslrootcert={authorities[0]}"
    brokers = {
        "DESKLINE_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "DESKLINE_TOPIC_PREFIX": settings.topic_prefix,
    }
    _deskline("migrate", "--logins", str(logins), env={"DESKLINE_POSTGRES_DSN": admin})
    _deskline("topics", "apply", "--partitions", "4", env=brokers)

    running, ports = {}, dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    try:
        for name, port in ports.items():
            own = {
                "DESKLINE_POSTGRES_DSN": dsn(name),
                "DESKLINE_POSTGRES_PASSWORD": PASSWORDS[name],
                "DESKLINE_HTTP_PORT": str(port),
                "DESKLINE_ARCHIVE_HOME": str(tmp_path / "home"),
            }
            running[name] = _start(name, brokers | own, tmp_path / f"{name}.log")

        async def connected():
            answers = [await get(f"http://127.0.0.1:{port}/readyz") for port in ports.values()]
            return all(answer and json.loads(answer[1]).get("connected") for answer in answers)

        await eventually(connected, "all connected", 120)
        connection = await asyncpg.connect(admin)
        try:
            sessions = await connection.fetch(
                "SELECT usename, bool_and(ssl) AS ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                "WHERE usename LIKE 'deskline_login_%' GROUP BY 1"
            )
        finally:
            await connection.close()
        assert {row["usename"]: row["ssl"] for row in sessions} == {login_of(name): True for name in SERVICES}
    finally:
        for process in running.values():
            process.terminate()
        codes = [process.wait(60) for process in running.values()]
    assert codes == [0, 0, 0, 0]
    assert not [name for name in SERVICES if b"planted" in (tmp_path / f"{name}.log").read_bytes()]

    for refused, how in (
        (dsn("sla", authorities[1]), "SSLCertVerificationError"),
        (dsn("sla", mode="disable"), "InvalidAuthorizationSpecificationError"),
    ):
        of_sla = ServiceSettings(postgres_dsn=SecretStr(refused), postgres_password=SecretStr(PASSWORDS["sla"]))
        with pytest.raises((TransientError, asyncpg.PostgresError)) as error:
            await connect(of_sla, "sla")
        assert how in f"{type(error.value).__name__} {error.value}"
