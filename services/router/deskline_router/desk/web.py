"""The HTTP surface of ``/desk``; the OpenAPI document is made from it.

Who asks shows ``Authorization: Bearer <token>``; the file ``DESKLINE_ROUTER_TOKENS`` gives each a role. ``reader`` looks. ``agent``, whose
token's name is his agent id, also picks for himself, hands on what is his, and pauses himself. ``supervisor`` does all of it for
everybody. What is refused answers ``{"code", "message"}``. An action with the same ``Idempotency-Key`` is the same action.
"""

import secrets
import time
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deskline.access import Holder, NoTokenError, Rates, Tokens, sent
from deskline.clock import DAY, now_us, rfc3339
from deskline.errors import DesklineError, TransientError
from deskline.events.fields import EnvelopeId, Id, Words
from deskline.settings import ServiceSettings
from deskline.story.sentences import Language, tell
from deskline.story.source import read_story
from deskline_router.desk import view
from deskline_router.desk.orders import Orders, action_id
from deskline_router.desk.view import Desks
from deskline_router.model import Action
from deskline_router.store import Ordered

PREFIX: Final = "/desk"
ROLES: Final = ("reader", "agent", "supervisor")
_MOST_BYTES: Final = 16 * 1024
_STORY_WITHIN_S: Final = 5.0
_STORY_DAYS: Final = 31


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WaitingRequest(BaseModel):
    """A request for an agent: waiting, offered or held. Times are RFC 3339, UTC."""

    request_id: str
    conversation_id: str
    shop_id: str
    state: Literal["queued", "offered", "held"]
    cause: str
    tier: str
    priority: int
    skills: list[str]
    flags: list[str]
    rule: str
    step: int
    waiting_since: str
    waited_s: float
    position: int | None = None
    due_at: str | None = None
    accept_by: str | None = None
    opens_at: str | None = None
    agent_id: str | None = None
    assignment_id: str | None = None
    attempt: int | None = None


class Queue(BaseModel):
    shop_id: str
    waiting: int
    surge: bool
    requests: list[WaitingRequest]
    """Whoever comes next first."""


class DeskAgent(BaseModel):
    agent_id: str
    status: Literal["online", "away", "offline"]
    paused: bool
    load: float
    capacity: int
    wrapping_up: int
    missed_offers: int
    grade: str
    skills: dict[str, int]
    conversations: list[str]


class Agents(BaseModel):
    agents: list[DeskAgent]


class Assignments(BaseModel):
    assignments: list[WaitingRequest]


class Sentence(BaseModel):
    time: str
    text: str


class Story(BaseModel):
    conversation_id: str
    request: WaitingRequest | None = None
    """The open one."""
    story: list[Sentence]
    story_missing: str | None = None
    """Why the archive told nothing; what is open stands in `request` all the same."""


class Give(Body):
    agent_id: Id


class Target(Body):
    agent_id: Id | None = None
    skills: Words | None = None
    grade: Literal["trainee", "standard", "senior", "supervisor"] | None = None


class Decided(BaseModel):
    action_id: str
    kind: str
    actor: str
    at: str
    state: Literal["waiting", "done", "refused"]
    code: str | None = None
    """done, or why not: not_online, full, paused, taken, ..."""
    message: str | None = None
    request_id: str | None = None
    assignment_id: str | None = None


class Problem(BaseModel):
    code: str
    message: str


Conversation = Annotated[EnvelopeId, InPath()]
Shop = Annotated[Id, InPath()]
AgentId = Annotated[Id, InPath()]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=64,
        pattern=r"^[\x21-\x7e]+$",
        description="The same for every retry of an action.",
    ),
]
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Problem, "description": "A body that is no JSON in UTF-8."},
    401: {"model": Problem, "description": "No token."},
    403: {"model": Problem, "description": "A token that is not known, or whose role may not."},
    413: {"model": Problem, "description": "A body of unknown length, or of more than 16 KiB."},
    422: {"model": Problem, "description": "Not what is described here."},
    429: {"model": Problem, "description": "Too often; the header Retry-After says when again."},
    503: {"model": Problem, "description": "The database does not answer, or the configuration has not been read yet."},
}
_ACTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Decided, "description": "Decided: done."},
    202: {
        "model": Decided,
        "description": "Kept, and decided when the conversation's instance is back: ask for the action.",
    },
    409: {
        "model": Decided | Problem,
        "description": "Decided: refused, and why; or this key was used for another action.",
    },
}


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class Desk:
    """What the surface asks."""

    def __init__(
        self,
        settings: ServiceSettings,
        desks: Desks,
        orders: Orders,
        *,
        tokens: Tokens,
        rates: Rates,
        ready: Callable[[], bool],
    ) -> None:
        self.settings, self.desks, self.orders = settings, desks, orders
        self.tokens, self.rates, self.ready = tokens, rates, ready

    def admit(self, request: Request) -> Holder:
        try:
            token = sent(request.headers.raw)
        except NoTokenError as error:
            raise Refused(401, "no_token", str(error), {"WWW-Authenticate": 'Bearer realm="deskline"'}) from None
        if not self.tokens.on:
            raise Refused(403, "off", "set DESKLINE_ROUTER_TOKENS and give somebody a token: deskline router token")
        holder = self.tokens.holder(token)
        if holder is None:
            raise Refused(403, "unknown_token", "this token is not known")
        wait_s = self.rates.wait_s(holder.name, time.monotonic())
        if wait_s:
            again = {"Retry-After": str(max(1, round(wait_s + 0.5)))}
            raise Refused(429, "too_often", "ask less often", again)
        if not self.ready():
            raise Refused(503, "starting", "the configuration has not been read yet", {"Retry-After": "1"})
        return holder


def build(desk: Desk) -> FastAPI:
    app = FastAPI(
        title="deskline router, desk",
        version="1",
        description=__doc__ or "",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        responses=_ANSWERS,
    )
    app.add_middleware(_Careful)
    _refusals(app)

    async def who(request: Request) -> Holder:
        return desk.admit(request)

    Who = Annotated[Holder, Depends(who)]  # noqa: N806 - a type
    _looking(app, desk, Who)
    _acting(app, desk, Who)
    return app


class _Careful:
    """Bodies of a known and bounded length in; out, headers that keep what is told out of caches and frames."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"], (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"),
                ]  # fmt: skip
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0" if scope["method"] in ("GET", "HEAD") else b"")
        if scope["method"] == "POST" and not (length.isdigit() and int(length) <= _MOST_BYTES):
            refusal = JSONResponse({"code": "too_large", "message": "a body of known length, of 16 KiB at most"}, 413)
            await refusal(scope, receive, careful)
        else:
            await self._app(scope, receive, careful)


def _refusals(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return JSONResponse({"code": error.code, "message": error.message}, error.status, error.headers)

    @app.exception_handler(TransientError)
    async def away(_: Request, error: TransientError) -> Response:
        return JSONResponse({"code": "away", "message": str(error)}, 503, {"Retry-After": "1"})

    @app.exception_handler(HTTPException)
    async def unreadable(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"code": "unreadable", "message": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"code": "invalid", "message": f"{place}: {first['msg']}"}, 422)


# --- looking ------------------------------------------------------------------------------------------------------


def _looking(app: FastAPI, desk: Desk, Who: Any) -> None:  # noqa: N803 - a type
    @app.get(f"{PREFIX}/shops/{{shop_id}}/queue", tags=["looking"])
    async def queue(
        _: Who, shop_id: Shop, limit: Annotated[int, Query(ge=1, le=500, description="So many at most.")] = 100
    ) -> Queue:
        """Who waits for an agent in this shop, in the order of service."""
        return Queue(**await desk.desks.look(lambda world: view.queue(world, shop_id, limit)))

    @app.get(f"{PREFIX}/agents", tags=["looking"])
    async def agents(_: Who, shop_id: Annotated[Id | None, Query()] = None) -> Agents:
        """Everybody who has been online, of one shop or of all: status, load, capacity, conversations."""
        return Agents(agents=await desk.desks.look(lambda world: view.agents(world, shop_id)))

    @app.get(f"{PREFIX}/assignments", tags=["looking"])
    async def assignments(
        _: Who, agent_id: Annotated[Id | None, Query()] = None, shop_id: Annotated[Id | None, Query()] = None
    ) -> Assignments:
        """Live assignments, offered and held, the oldest first."""
        found = await desk.desks.look(lambda world: view.assignments(world, agent_id, shop_id))
        return Assignments(assignments=found)

    @app.get(f"{PREFIX}/conversations/{{conversation_id}}", tags=["looking"])
    async def conversation(
        _: Who,
        conversation_id: Conversation,
        lang: Annotated[Language, Query()] = "zh",
        days: Annotated[int, Query(ge=1, le=_STORY_DAYS, description="So far back the archive is asked.")] = 2,
    ) -> Story:
        """A conversation's story from all services in order, as sentences, and its open request; never what anybody wrote."""

        def open_request(world: Any) -> dict[str, Any] | None:
            request = world.requests.get(conversation_id)
            return None if request is None else view.shown_request(world, request)

        request = await desk.desks.look(open_request)
        lines, missing = [], None
        try:
            since = now_us() - days * DAY
            found = await read_story(desk.settings, conversation_id, since, within_s=_STORY_WITHIN_S)
            lines = [Sentence(time=rfc3339(line.at), text=line.text) for line in tell(found.events, lang)]
            missing = None if lines else f"the archive has no record of it in {days} days"
        except DesklineError as error:
            missing = str(error)
        shown = None if request is None else WaitingRequest(**request)
        return Story(conversation_id=conversation_id, request=shown, story=lines, story_missing=missing)


# --- acting -------------------------------------------------------------------------------------------------------


def _acting(app: FastAPI, desk: Desk, Who: Any) -> None:  # noqa: N803 - a type
    async def order(holder: Holder, key: str | None, response: Response, action: Action) -> Decided:
        identity = action_id(holder.name, key or secrets.token_hex(16))
        ordered = await desk.orders.submit(action._replace(action_id=identity))
        if not _same(ordered.action, action):
            raise Refused(409, "key_reused", "this Idempotency-Key was used for another action")
        decided = _decided(ordered)
        response.status_code = {"done": 200, "waiting": 202, "refused": 409}[decided.state]
        return decided

    def may(holder: Holder, own: str | None = None) -> None:
        """Supervisors; and an agent where it is about himself alone."""
        if holder.role == "supervisor" or (holder.role == "agent" and own == holder.name):
            return
        raise Refused(403, "role", f"a token of the role {holder.role} may not do this")

    def action(kind: Any, holder: Holder, **fields: Any) -> Action:
        return Action("", kind, holder.name, now_us(), **fields)

    acts: dict[str, Any] = {"responses": _ANSWERS | _ACTS, "tags": ["acting"], "response_model_exclude_none": True}
    path = f"{PREFIX}/conversations/{{conversation_id}}"

    @app.post(f"{path}/assign", **acts)
    async def assign(
        who: Who, response: Response, conversation_id: Conversation, body: Give, key: Key = None
    ) -> Decided:
        """Give it to this agent, whoever has it: skills and grade are waived, status and capacity are not. With the
        supervisor's own agent id it is a take-over.
        """
        may(who)
        return await order(
            who, key, response, action("assign", who, subject=conversation_id, agent_id=body.agent_id)
        )  # fmt: skip

    @app.post(f"{path}/pick", **acts)
    async def pick(who: Who, response: Response, conversation_id: Conversation, key: Key = None) -> Decided:
        """Take what waits, or what is offered to whoever asks; the token's name is his agent id."""
        may(who, who.name)
        return await order(who, key, response, action("pick", who, subject=conversation_id, agent_id=who.name))

    @app.post(f"{path}/transfer", **acts)
    async def transfer(
        who: Who, response: Response, conversation_id: Conversation, body: Target, key: Key = None
    ) -> Decided:
        """Hand it on: to somebody, to a skill or grade, or (nothing stated) to whom the policy finds."""
        may(who, who.name)
        wish = {"agent_id": body.agent_id, "skills": tuple(body.skills or ()), "grade": body.grade}
        own_only = who.role == "agent"
        return await order(
            who, key, response, action("transfer", who, subject=conversation_id, own_only=own_only, **wish)
        )  # fmt: skip

    @app.post(f"{PREFIX}/agents/{{agent_id}}/pause", **acts)
    async def pause(who: Who, response: Response, agent_id: AgentId, key: Key = None) -> Decided:
        """Give him nothing more; what he has stays with him."""
        may(who, agent_id)
        return await order(who, key, response, action("pause", who, agent_id=agent_id))

    @app.post(f"{PREFIX}/agents/{{agent_id}}/resume", **acts)
    async def resume(who: Who, response: Response, agent_id: AgentId, key: Key = None) -> Decided:
        """End his pause, whoever or whatever began it."""
        may(who, agent_id)
        return await order(who, key, response, action("resume", who, agent_id=agent_id))

    @app.post(f"{PREFIX}/shops/{{shop_id}}/surge/on", **acts)
    async def surge_on(who: Who, response: Response, shop_id: Shop, key: Key = None) -> Decided:
        """Begin a surge by hand; it lasts until it is ended by hand."""
        may(who)
        return await order(who, key, response, action("surge_on", who, shop_id=shop_id))

    @app.post(f"{PREFIX}/shops/{{shop_id}}/surge/off", **acts)
    async def surge_off(who: Who, response: Response, shop_id: Shop, key: Key = None) -> Decided:
        """End a surge, whatever began it; thresholds begin none before they have not been reached for once."""
        may(who)
        return await order(who, key, response, action("surge_off", who, shop_id=shop_id))

    @app.get(
        f"{PREFIX}/actions/{{action_id}}",
        tags=["acting"],
        response_model_exclude_none=True,
        responses=_ANSWERS | {404: {"model": Problem, "description": "No such action, or somebody else's."}},
    )
    async def ordered(who: Who, action_id: Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]) -> Decided:
        """What has become of an action; an agent asks for his own."""
        found = await desk.orders.ordered(action_id)
        if found is None or (who.role == "agent" and found.action.actor != who.name):
            raise Refused(404, "not_found", "no such action")
        return _decided(found)


def _same(kept: Action, asked: Action) -> bool:
    mine = asked._replace(action_id=kept.action_id, at=kept.at, lane=kept.lane)
    return kept == mine


def _decided(ordered: Ordered) -> Decided:
    action, outcome = ordered.action, ordered.outcome
    found = Decided(
        action_id=action.action_id, kind=action.kind, actor=action.actor, at=rfc3339(action.at), state="waiting"
    )  # fmt: skip
    if outcome is None:
        return found
    return found.model_copy(
        update={
            "state": "done" if outcome.done else "refused",
            "code": outcome.code,
            "message": outcome.words,
            "request_id": outcome.request_id,
            "assignment_id": outcome.assignment_id,
        }
    )


def document() -> dict[str, Any]:
    """The OpenAPI document; nothing of the desk is asked for it."""
    unused: Any = None
    return build(Desk(unused, unused, unused, tokens=unused, rates=unused, ready=lambda: False)).openapi()
