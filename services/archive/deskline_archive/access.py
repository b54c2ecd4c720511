"""``GET /archive/search`` and ``/archive/transcript``: what the command line finds, for those who have a token; how to ask is
in ``/archive/openapi.json``.

The request carries ``Authorization: Bearer <token>``. The file ``DESKLINE_ARCHIVE_TOKENS`` (else ``tokens`` in the home) has a
line for each: role, name, SHA-256 of the token; ``deskline archive token`` writes it. It is read with every request, so that
a token that is taken away is refused at once. Without the file nobody is answered. Investigators send ``X-Reason``.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, unquote

from faststream.asgi import AsgiResponse, get

from deskline.access import NoTokenError, Tokens, sent
from deskline.errors import UsageError
from deskline.postgres import TRANSIENT, connect, is_transient
from deskline.settings import ServiceSettings
from deskline_archive.find import ROLES, Finder, Looker, Question, Role
from deskline_archive.settings import ArchiveSettings
from deskline_archive.shown import as_csv, as_html, as_text
from deskline_archive.veil import vault_of

# At once; more are told to come again: a search must not take the ingest's connections.
_AT_ONCE: Final = 4
_KNOWN: Final = frozenset(
    {"conversation", "customer", "shop", "agent", "kind", "from", "to", "text", "limit", "cursor", "format"}
)
_PAGES: Final = ("json", "csv")
_TRANSCRIPTS: Final = ("json", "text", "html")


def described() -> str:
    """The OpenAPI document."""
    return (files("deskline_archive") / "openapi.json").read_text("utf-8")


class _RefusedError(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class Access:
    def __init__(self, settings: ServiceSettings, own: ArchiveSettings) -> None:
        self._settings = settings
        self._own = own
        self._busy = 0

    def routes(self) -> list[tuple[str, Any]]:
        """For ``Runtime.routes``."""

        @get(include_in_schema=False)
        async def search(scope: Any) -> AsgiResponse:
            return await self._answer(scope, transcript=False)

        @get(include_in_schema=False)
        async def transcript(scope: Any) -> AsgiResponse:
            return await self._answer(scope, transcript=True)

        @get(include_in_schema=False)
        async def document(_scope: Any) -> AsgiResponse:
            return _response(200, described(), "application/json")

        return [("/archive/search", search), ("/archive/transcript", transcript), ("/archive/openapi.json", document)]

    async def _answer(self, scope: Any, *, transcript: bool) -> AsgiResponse:
        try:
            looker = self._looker(scope["headers"])
            given = _given(scope["query_string"])
            if self._busy >= _AT_ONCE:
                raise _RefusedError(429, "too many searches at once; try again in a moment")
            self._busy += 1
            try:
                kind, body, more = await self._found(given, looker, transcript=transcript)
            finally:
                self._busy -= 1
            return _response(200, body, kind, more)
        except _RefusedError as error:
            return _response(error.status, json.dumps({"error": str(error)}), "application/json")
        except UsageError as error:
            return _response(400, json.dumps({"error": str(error)}), "application/json")
        except TRANSIENT as error:
            if not is_transient(error):
                raise
            told = {"error": "the archive does not answer, or not in time; try again"}
            return _response(503, json.dumps(told), "application/json")

    def _looker(self, headers: list[tuple[bytes, bytes]]) -> Looker:
        file = self._own.tokens_file
        if file is None or not file.exists():
            raise _RefusedError(403, "searching is off: deskline archive token gives somebody access")
        try:
            found = looker_of(file, sent(headers))
        except NoTokenError as error:
            raise _RefusedError(401, str(error)) from None
        if found is None:
            raise _RefusedError(403, "this token is not known")
        reason = next((value for name, value in headers if name.lower() == b"x-reason"), b"")
        return found._replace(reason=unquote(reason.decode("latin-1"))[:500])

    async def _found(
        self, given: Mapping[str, str], looker: Looker, *, transcript: bool
    ) -> tuple[str, str, dict[str, str]]:
        """What kind it is, the body, and headers of its own."""
        form, forms = given.get("format", "json"), _TRANSCRIPTS if transcript else _PAGES
        if form not in forms:
            raise _RefusedError(400, f"format is one of {', '.join(forms)}")
        connection = await connect(self._settings, "archive")
        try:
            finder = Finder(connection, self._settings.topic_prefix, await asyncio.to_thread(vault_of, self._own))
            if transcript:
                conversation = given.get("conversation")
                if not conversation:
                    raise _RefusedError(400, "conversation is missing")
                hits = await finder.transcript(conversation, looker, Question().time_box_s)
                if form == "html":
                    return "text/html", as_html(conversation, hits), {}
                if form == "text":
                    return "text/plain", as_text(hits), {}
                return "application/json", json.dumps([hit._asdict() for hit in hits], ensure_ascii=False), {}
            page = await finder.search(_question(given), looker)
        finally:
            await connection.close()
        if form == "csv":
            # A table has no place for what JSON says beside the hits.
            more = {"x-complete": json.dumps(page.complete), **({"x-cursor": page.cursor} if page.cursor else {})}
            return "text/csv", as_csv(page.hits), more
        told = {"hits": [hit._asdict() for hit in page.hits], "cursor": page.cursor, "complete": page.complete}
        return "application/json", json.dumps(told, ensure_ascii=False), {}


def looker_of(file: Path, token: bytes) -> Looker | None:
    """Whose token it is."""
    found = Tokens(file, ROLES).holder(token)
    return None if found is None else Looker(found.name, cast("Role", found.role))


def _given(query: bytes) -> dict[str, str]:
    try:
        found = parse_qs(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError:
        raise _RefusedError(400, "the query is not percent-encoded UTF-8, or has too many fields") from None
    unknown = sorted(found.keys() - _KNOWN)
    if unknown or any(len(values) > 1 for values in found.values()):
        raise _RefusedError(400, f"give every parameter once, of {', '.join(sorted(_KNOWN))}")
    if any(len(values[0]) > 512 or "\0" in values[0] for values in found.values()):
        raise _RefusedError(400, "a parameter has more than 512 characters, or a NUL")
    return {name: values[0] for name, values in found.items()}


def _question(given: Mapping[str, str]) -> Question:
    try:
        days = {name: date.fromisoformat(given[name]) for name in ("from", "to") if name in given}
        limit = int(given.get("limit", "50"))
    except ValueError:
        raise _RefusedError(400, "from and to are days (2026-11-30), limit is a number") from None
    named = {name: given.get(name) for name in ("conversation", "customer", "shop", "agent", "kind", "text", "cursor")}
    return Question(**named, first=days.get("from"), last=days.get("to"), limit=limit)  # type: ignore[arg-type]


def _response(status: int, body: str, kind: str, more: Mapping[str, str] | None = None) -> AsgiResponse:
    headers = {
        **(more or {}),
        "content-type": f"{kind}; charset=utf-8",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    }
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="deskline"'
    return AsgiResponse(body.encode("utf-8", "backslashreplace"), status, headers=headers)
