"""``GET /knowledge?q=…&shop=…&limit=…``: what the agents' desktop asks while they type.

The request carries ``Authorization: Bearer <DESKLINE_DESKTOP_TOKEN>``. The answer is JSON: the version of the rules, and candidates, best
first, with confidence, kind and answer. Entries shown are counted as looked at. Questions are not logged. How to ask is in
``/knowledge/openapi.json``.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs

from faststream.asgi import AsgiResponse, get
from pydantic import SecretStr

from deskline.clock import now_us
from deskline.config.base import DEFAULT_SHOP
from deskline_autoreply.knowledge.answers import NEAR, Candidate
from deskline_autoreply.knowledge.lookups import Lookups
from deskline_autoreply.versions import Versions

_MOST: Final = 10
_USUAL: Final = 5
_MOST_QUESTION: Final = 400
_KNOWN: Final = frozenset({"q", "shop", "limit"})


class _RefusedError(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


def described() -> str:
    """The OpenAPI document."""
    return (files("deskline_autoreply.knowledge") / "openapi.json").read_text("utf-8")


def routes(
    versions: Versions, lookups: Lookups, token: SecretStr | None, ready: Callable[[], bool]
) -> list[tuple[str, Any]]:
    """For ``Runtime.routes``; ``ready``: whether the configuration has been read."""
    search = Desk(versions, lookups, token, ready).answer

    @get(include_in_schema=False)
    async def knowledge(scope: Any) -> AsgiResponse:
        status, body = await search(scope)
        headers = {"content-type": "application/json; charset=utf-8", "cache-control": "no-store"}
        if status == 401:
            headers["www-authenticate"] = 'Bearer realm="deskline"'
        return AsgiResponse(json.dumps(body, ensure_ascii=False).encode(), status, headers=headers)

    @get(include_in_schema=False)
    async def document(_scope: Any) -> AsgiResponse:
        return AsgiResponse(described().encode(), 200, headers={"content-type": "application/json; charset=utf-8"})

    return [("/knowledge", knowledge), ("/knowledge/openapi.json", document)]


class Desk:
    def __init__(
        self, versions: Versions, lookups: Lookups, token: SecretStr | None, ready: Callable[[], bool]
    ) -> None:
        self._versions, self._lookups, self._ready = versions, lookups, ready
        self._token = token.get_secret_value().encode() if token is not None else b""

    def answer(self, scope: Any) -> Awaitable[tuple[int, dict[str, Any]]]:
        return self._answer(scope)

    async def _answer(self, scope: Any) -> tuple[int, dict[str, Any]]:
        try:
            self._authorise(scope)
            question, shop, limit = _asked(scope)
            if not self._ready():
                raise _RefusedError(503, "the configuration has not been read yet; try again in a second")
        except _RefusedError as error:
            return error.status, {"error": str(error)}
        now = now_us()
        version, rules = self._versions.rules(shop, now, now)
        # In a thread: the desk can wait for some milliseconds, the messages of customers shall not.
        found = await asyncio.to_thread(self._search, rules.document, question, now, limit)
        self._lookups.count(shop, (one.entry_id for one in found if one.confidence >= NEAR), now)
        return 200, {"shop_id": shop, "rules_version": version, "candidates": [_shown(one) for one in found]}

    def _search(self, document: Any, question: str, now: int, limit: int) -> tuple[Candidate, ...]:
        index = self._versions.knowledge(document)
        if index is None:
            return ()
        item = index.answer(question, now).sure
        found = index.search(question, now, most=limit)
        if item is not None and all(one.entry_id != item.entry_id for one in found):
            found = (item, *found)[:limit]
        return found

    def _authorise(self, scope: Any) -> None:
        if not self._token:
            raise _RefusedError(403, "searching is off: set DESKLINE_DESKTOP_TOKEN for autoreply")
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if not given:
            raise _RefusedError(401, "send the header Authorization: Bearer <token>")
        scheme, _, token = given[0].partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise _RefusedError(401, "send the header Authorization: Bearer <token>")
        if len(given) > 1 or not hmac.compare_digest(token.strip(), self._token):
            raise _RefusedError(403, "this token is not the one of DESKLINE_DESKTOP_TOKEN")


def _asked(scope: Any) -> tuple[str, str, int]:
    """(question, shop, limit)."""
    try:
        query = parse_qs(
            scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=8
        )
    except ValueError:
        raise _RefusedError(400, "the query is not percent-encoded UTF-8, or has too many fields") from None
    unknown = sorted(set(query) - _KNOWN)
    if unknown:
        raise _RefusedError(400, f"no such parameter: {unknown[0][:40]!r}; there are q, shop and limit")
    if any(len(values) > 1 for values in query.values()):
        raise _RefusedError(400, "give every parameter once")
    question = query.get("q", [""])[0]
    if not question.strip():
        raise _RefusedError(400, "q is missing: write what to look for")
    if len(question) > _MOST_QUESTION:
        raise _RefusedError(400, f"q has more than {_MOST_QUESTION} characters")
    limit = query.get("limit", [str(_USUAL)])[0]
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= _MOST):
        raise _RefusedError(400, f"limit is a number from 1 to {_MOST}")
    shop = query.get("shop", [DEFAULT_SHOP])[0]
    if not 1 <= len(shop) <= 128:
        raise _RefusedError(400, "shop is an id of 1 to 128 characters")
    return question, shop, int(limit)


def _shown(one: Candidate) -> dict[str, Any]:
    return {
        "entry_id": one.entry_id,
        "confidence": one.confidence,
        "kind": one.kind,
        "question": one.phrasing,
        "answer": one.answer,
    }
