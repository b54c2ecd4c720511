"""Logs hide what identifies a person, by configuration. In a process of its own, as a service starts."""

import json
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from deskline.settings import ServiceSettings

SECRETS = {
    "phone": "13800138000",
    "identity_card": "11010519491231002X",
    "bank_card": "4111 1111 1111 1111",
    "address": "上海市浦东新区张江路88号3栋501室",
    "email": "zhang.san@example.com",
}
PROGRAM = """
import logging, sys, structlog
from deskline.log import configure
from deskline.settings import ServiceSettings
configure(ServiceSettings(), "test")
log = structlog.get_logger()
text = sys.argv[1]
log.info("one", subject=f"conversation of {text}", deep={"in": [text, 7, None, (text,)]}, raw=text.encode(), error=ValueError(text))
logging.getLogger("a.library").warning("broken by %s", text)
try:
    raise ValueError(text)
except ValueError:
    log.exception("failed")
"""


def logged(text: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, text],
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
        capture_output=True, check=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    return done.stderr


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_line_shows_what_identifies_a_person(style):
    text = "; ".join(SECRETS.values())
    written = logged(text, DESKLINE_LOG_FORMAT=style)
    for secret in SECRETS.values():
        assert secret not in written
    assert "138******00" in written
    assert "a.library" not in written or "broken by" in written


def test_what_is_hidden_is_configured():
    text = "; ".join(SECRETS.values())
    assert all(secret in logged(text, DESKLINE_LOG_MASK="none") for secret in SECRETS.values())
    written = logged(text, DESKLINE_LOG_MASK="phone,email")
    shown = {kind for kind, secret in SECRETS.items() if secret in written}
    assert shown == {"identity_card", "bank_card", "address"}


def test_numbers_and_coordinates_stay():
    (line, *_) = [json.loads(each) for each in logged("conversations.v1/3/1380013").splitlines()]
    assert line["subject"] == "conversation of conversations.v1/3/1380013"
    assert line["deep"] == {"in": ["conversations.v1/3/1380013", 7, None, ["conversations.v1/3/1380013"]]}


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(ValidationError, match="log_mask"):
        ServiceSettings(log_mask="phone,names")
