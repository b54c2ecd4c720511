"""Bearer tokens before an ASGI application: each token is one role, and opens one path."""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pydantic import SecretStr

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


def presented(scope: Scope, token: str) -> bool:
    """Whether the request has exactly one ``Authorization`` header and in it this bearer token."""
    given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    if len(given) != 1:
        return False
    scheme, _, sent = given[0].partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(sent.strip(), token.encode())


def guarded(app: App, token: SecretStr | None) -> App:
    """``app`` for those who send the token, 401 for others; without a token for everybody."""
    if token is None:
        return app
    secret = token.get_secret_value()

    async def answer(
        scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if presented(scope, secret):
            await app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b'Bearer realm="deskline"')]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"send the header Authorization: Bearer <token>\n"})

    return answer
