"""Secrets that are planted in the environment, in flags and in files appear in nothing that is said, whatever goes wrong."""

import sys

import pytest

from deskline import cli

MARK = "planted"
SECRETS = {
    "DESKLINE_KAFKA_PASSWORD": f"{MARK}-kafka",
    "DESKLINE_POSTGRES_PASSWORD": f"{MARK}-postgres",
    "DESKLINE_DESKTOP_TOKEN": f"{MARK}-desktop",
}
AWAY = {
    "DESKLINE_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "DESKLINE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "DESKLINE_KAFKA_USERNAME": "me",
    "DESKLINE_POSTGRES_DSN": f"postgresql://me:{MARK}-dsn@127.0.0.1:9/x",
}
# As people write them: with what ought to be escaped, with typing errors, with another program's scheme.
DSNS = (
    f"postgresql://me:{MARK}@127.0.0.1:9/x",
    f"postgresql://me:{MARK}/half@127.0.0.1:9/x",
    f"postgresql://me:{MARK}#half@127.0.0.1:9/x",
    f"postgresql://me:{MARK}?half@127.0.0.1:9/x",
    f"postgresql://me:{MARK}@half@127.0.0.1:9/x",
    f"postgresql://me:{MARK}:half@127.0.0.1:9/x",
    f"postgresql://me:{MARK}[half@127.0.0.1:9/x",
    f"postgresql://me:{MARK}%zz@127.0.0.1:9/x",
    f"postgresql://me:{MARK}@127.0.0.1:port/x",
    f"postgresql://me:{MARK}@127.0.0.1:9/x?sslmode=often",
    f"postgresql://127.0.0.1:9/x?password={MARK}&sslmode=often",
    f"mysql://me:{MARK}@127.0.0.1:9/x",
    f"host=127.0.0.1 port=9 password={MARK}",
)


@pytest.fixture
def said(monkeypatch, capfd):
    """What a command says, and that it ends with an error for people."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    def run(*words, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["deskline", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        captured = capfd.readouterr()
        text = captured.out + captured.err
        assert text
        assert MARK not in text
        assert "Traceback" not in text
        return code, text

    return run


@pytest.mark.parametrize("dsn", DSNS)
@pytest.mark.parametrize(
    "command", [("migrate",), ("config", "history", "wardrobe"), ("archive", "retain")], ids=" ".join
)
def test_an_address_of_postgresql_that_cannot_be_used(said, command, dsn):
    for words, environment in (((*command, "--postgres-dsn", dsn), {}), (command, {"DESKLINE_POSTGRES_DSN": dsn})):
        code, text = said(*words, **environment)
        assert code in {1, 2}
        assert "PostgreSQL" in text or "postgres" in text.lower()


@pytest.mark.parametrize(
    "words", [("topics", "show"), ("topics", "apply"), ("topics", "acls", "--apply"), ("deadletters", "list"), ("config", "show", "x")],
    ids=" ".join,
)  # fmt: skip
def test_servers_that_are_away(said, words):
    code, _ = said(*words, **AWAY)
    assert code in {1, 2}


@pytest.mark.parametrize("service", ["archive", "autoreply", "router", "sla"])
def test_a_setting_that_is_wrong(said, service):
    code, text = said(service, **AWAY, DESKLINE_STALL_S="soon")
    assert code == 2
    assert "DESKLINE_STALL_S" in text


def test_help_shows_no_values(said):
    for words in (("--help",), ("up", "--help"), ("migrate", "--help"), ("topics", "acls", "--help")):
        code, _ = said(*words, **AWAY)
        assert code == 0


def test_a_file_in_the_place_of_a_secret(said, tmp_path, monkeypatch):
    (tmp_path / MARK).write_bytes(b"\xff")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DESKLINE_KAFKA_PASSWORD")
    (tmp_path / "f").write_bytes(b"planted\xff")
    code, text = said("topics", "show", **AWAY, DESKLINE_KAFKA_PASSWORD_FILE="f")
    assert code == 2
    assert "DESKLINE_KAFKA_PASSWORD_FILE" in text
