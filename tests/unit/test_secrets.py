"""Secrets come from variables or files, and errors about them say what to do without telling them."""

import base64
import hashlib
import hmac

import pytest
from pydantic import SecretStr

from deskline.errors import UsageError
from deskline.logins import passwords_in, verifier
from deskline.settings import ServiceSettings


def secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


def test_every_secret_may_come_from_a_file(tmp_path, monkeypatch):
    names = [name for name, field in ServiceSettings.model_fields.items() if "SecretStr" in str(field.annotation)]
    assert {"postgres_dsn", "postgres_password", "kafka_password", "desktop_token"} <= set(names)
    held = {name: "postgresql://me:hush@db/x " if name == "postgres_dsn" else f"hush {name} " for name in names}
    for name in names:
        (tmp_path / name).write_text(f"{held[name]}\r\n")
        monkeypatch.setenv(f"DESKLINE_{name.upper()}_FILE", str(tmp_path / name))
    settings = ServiceSettings()
    for name in names:
        assert secret(getattr(settings, name)) == held[name], "line ends alone are cut"
    assert "hush" not in f"{settings!r}{settings.model_dump()}"


def test_the_variable_wins_over_the_file_and_an_argument_over_both(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("file")
    monkeypatch.setenv("DESKLINE_KAFKA_PASSWORD_FILE", str(tmp_path / "f"))
    monkeypatch.setenv("DESKLINE_KAFKA_PASSWORD", "variable")
    assert secret(ServiceSettings().kafka_password) == "variable"
    assert secret(ServiceSettings(kafka_password=SecretStr("argument")).kafka_password) == "argument"


def test_what_is_no_secret_comes_from_no_file(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("elsewhere:9092")
    monkeypatch.setenv("DESKLINE_BOOTSTRAP_SERVERS_FILE", str(tmp_path / "f"))
    assert ServiceSettings().bootstrap_servers == "127.0.0.1:9092"


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"", "empty"), (b"\n", "empty"), (b"\xff", "UTF-8")]
)
def test_a_file_that_holds_no_secret_is_named(tmp_path, monkeypatch, content, told):
    path = tmp_path / "f"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("DESKLINE_POSTGRES_PASSWORD_FILE", str(path))
    with pytest.raises(UsageError, match=rf"DESKLINE_POSTGRES_PASSWORD_FILE names {path}, which .*{told}"):
        ServiceSettings()


@pytest.mark.parametrize(
    ("dsn", "password", "options"),
    [
        ("postgresql://me@db/x", None, {"dsn": "postgresql://me@db/x"}),
        ("postgresql://me@db/x", "p", {"dsn": "postgresql://me@db/x", "password": "p"}),
        # Its own wins: what `deskline up` starts is not reached by a password that lies around.
        ("postgresql://me:own@db/x", "p", {"dsn": "postgresql://me:own@db/x"}),
    ],
)
def test_the_password_completes_an_address_without_one(dsn, password, options):
    given = None if password is None else SecretStr(password)
    assert ServiceSettings(postgres_dsn=SecretStr(dsn), postgres_password=given).postgres_options == options


def test_the_verifier_is_that_of_rfc_7677():
    # Its example of section 3: password "pencil". The server's signature and the client's proof of it must check.
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    first = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}".encode()
    made = verifier("pencil", salt)
    head, keys = made.rsplit("$", 1)
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    assert head == "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
    assert hmac.digest(server, first, "sha256") == base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    key = bytes(a ^ b for a, b in zip(hmac.digest(stored, first, "sha256"), proof, strict=True))
    assert hashlib.sha256(key).digest() == stored
    assert verifier("pencil") != made, "a salt of its own each time"


def test_passwords_are_read_from_files_named_like_services(tmp_path):
    (tmp_path / "sla").write_text("long-enough-1\n")
    (tmp_path / "..data").write_text("as Kubernetes mounts them")
    assert passwords_in(tmp_path) == {"sla": "long-enough-1"}
    (tmp_path / "slq").write_text("long-enough-1")
    with pytest.raises(UsageError, match="slq is none of archive, autoreply, config, router, sla"):
        passwords_in(tmp_path)


@pytest.mark.parametrize("password", ["short", "mit-Umläuten-und-lang", "with\na-second-line"])
def test_a_password_that_would_not_do_is_refused_without_being_told(tmp_path, password):
    (tmp_path / "sla").write_text(password)
    with pytest.raises(UsageError, match="at least 12 printable ASCII") as refused:
        passwords_in(tmp_path)
    assert password not in str(refused.value)


def test_an_empty_or_missing_folder_is_told(tmp_path):
    with pytest.raises(UsageError, match="has no file"):
        passwords_in(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        passwords_in(tmp_path / "nowhere")


def test_an_error_about_settings_does_not_show_what_was_given():
    with pytest.raises(ValueError, match="postgresql://USER") as refused:
        ServiceSettings(postgres_dsn=SecretStr("postgresql://me:hush/half@db/x"))
    assert "hush" not in str(refused.value)
