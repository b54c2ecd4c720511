"""A token opens its path, for those who send it alone."""

import pytest
from pydantic import SecretStr

from deskline.bearer import guarded


async def inner(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"figures"})


async def asked(app, *headers):
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http", "headers": list(headers)}, None, send)
    return sent[0]["status"], sent[1]["body"]


def bearer(value, name=b"authorization"):
    return (name, value)


@pytest.mark.parametrize("given", [b"Bearer hush", b"bearer hush", b"BEARER  hush "])
async def test_who_sends_it_is_answered(given):
    assert await asked(guarded(inner, SecretStr("hush")), bearer(given)) == (200, b"figures")
    assert await asked(guarded(inner, SecretStr("hush")), bearer(given, b"Authorization")) == (200, b"figures")


@pytest.mark.parametrize(
    "headers",
    [
        [], [bearer(b"")], [bearer(b"hush")], [bearer(b"Bearer")], [bearer(b"Bearer hus")], [bearer(b"Bearer hushh")],
        [bearer(b"Basic hush")], [bearer(b"Bearer \xff")], [bearer(b"Bearer hush"), bearer(b"Bearer hush")],
        [bearer(b"Bearer hush", b"x-authorization")],
    ],
)  # fmt: skip
async def test_who_does_not_is_refused_without_being_told_it(headers):
    status, body = await asked(guarded(inner, SecretStr("hush")), *headers)
    assert status == 401
    assert b"hush" not in body
    assert b"figures" not in body


async def test_without_a_token_everybody_is_answered():
    assert await asked(guarded(inner, None)) == (200, b"figures")
