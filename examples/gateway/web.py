"""The gateway's HTTP and WebSocket surface; the OpenAPI document is made from it.

Who asks: a customer shows the token of the conversation, an agent that of a session, both as ``Authorization: Bearer``
(WebSockets: in the first frame, since addresses end up in logs). What is refused answers ``{"code", "message"}``.
Repeats are safe everywhere: messages by their ``message_id``, everything else by the header ``Idempotency-Key``.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from examples.gateway import delivery, desk
from examples.gateway.app import Gateway
from examples.gateway.desk import Refused, Turn
from fastapi import Depends, FastAPI, Header, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deskline.events.fields import Count, Decimal, EnvelopeId, Id, Prose, Score, Text, Word, Words
from deskline.events.models import Attachment, Customer

PAGES: Final = Path(__file__).with_name("pages")
LONGEST_POLL_S: Final = 25.0
_HELLO_S: Final = 10.0
# Numbers of messages that JavaScript reads exactly; far above, SQLite would refuse to look.
_HIGHEST: Final = 2**53
_MOST_BYTES: Final = 256 * 1024
_FORBIDDEN, _UNAUTHORISED = 4403, 4401


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewConversation(Body):
    shop_id: Id
    channel: Word = "web"
    customer: Customer
    language: Word | None = None
    entry_point: Word | None = None


class Opened(Body):
    conversation_id: str
    token: str


class CustomerMessage(Body):
    text: Text
    message_id: Id | None = None
    """Made by the sender, kept over its retries: the same one again is the same message."""
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=64)] | None = None
    order_id: Id | None = None
    product_id: Id | None = None


class AgentMessage(Body):
    text: Text
    message_id: Id | None = None
    in_reply_to: Id | None = None


class Taken(Body):
    """Accepted and durable; it reaches Kafka in its order, whatever is restarted."""

    message_id: str
    seq: int
    """Its number in the conversation."""
    at: str
    """The ``time`` of its event."""


class ReadReceipt(Body):
    message_id: Id


class Rating(Body):
    score: Score
    comment: Prose | None = None


class Closing(Body):
    resolved: bool


class Complaint(Body):
    category: Word | None = None


class ComplaintOpened(Body):
    complaint_id: str


class Order(Body):
    order_id: Id
    amount: Decimal


class Login(Body):
    staff_token: str | None = None


class Session(Body):
    token: str


class Status(Body):
    status: Literal["online", "away", "offline"]
    capacity: Count | None = None
    reason: Prose | None = None


class Reason(Body):
    reason: Prose | None = None


class Target(Body):
    """To whom: the events' own model is strict, and takes no list of a request for its tuple."""

    agent_id: Id | None = None
    skills: Words | None = None
    grade: Word | None = None


class Transfer(Body):
    to: Target | None = None
    note: Prose | None = None


class Problem(Body):
    code: str
    message: str


Subject = Annotated[EnvelopeId, InPath()]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=64,
        pattern=r"^[\x21-\x7e]+$",
        description="The same for every retry.",
    ),
]
Done = dict[str, Any]
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Problem, "description": "A body that is no JSON in UTF-8."},
    401: {"model": Problem, "description": "No token, or not the right one."},
    403: {"model": Problem, "description": "Another agent's."},
    404: {"model": Problem, "description": "No such thing."},
    409: {
        "model": Problem,
        "description": "It cannot be done now: closed, not_yours, too_late, key_reused, message_id_reused.",
    },
    413: {"model": Problem, "description": "A body of unknown length, or of more than 256 KiB."},
    422: {"model": Problem, "description": "Not what is described here."},
    503: {"model": Problem, "description": "Kafka has not taken what is waiting."},
}


def build(gateway: Gateway) -> FastAPI:
    app = FastAPI(
        title="deskline reference gateway",
        version="1",
        description=__doc__ or "",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        responses=_ANSWERS,
    )
    app.add_middleware(_Careful)
    _refusals(app)
    customers(app, gateway)
    agents(app, gateway)
    around(app, gateway)
    return app


class _Careful:
    """Bodies of a known and bounded length in; out, headers for the day on which a page forgets that what people wrote is text."""

    _HEADERS: Final = (
        (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = ((b"cache-control", b"no-store"),) if scope["path"].startswith("/v1/") else ()
                message["headers"] = [*message["headers"], *self._HEADERS, *more]
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"")
        if scope["method"] in ("POST", "PUT") and not (length.isdigit() and int(length) <= _MOST_BYTES):
            refusal = JSONResponse({"code": "too_large", "message": "a body of known length, of 256 KiB at most"}, 413)
            await refusal(scope, receive, careful)
        else:
            await self._app(scope, receive, careful)


def _refusals(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(error.status)
        return JSONResponse({"code": error.code, "message": error.words}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def unreadable(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"code": "unreadable", "message": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # Where and why, never what: it may be what a customer wrote.
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"code": "invalid", "message": f"{place}: {first['msg']}"}, 422)

    @app.exception_handler(ValueError)
    async def unsayable(_: Request, error: ValueError) -> Response:
        return JSONResponse({"code": "invalid", "message": str(error)}, 422)


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _new_id(given: str | None) -> str:
    return given or secrets.token_hex(12)


# --- customers ----------------------------------------------------------------------------------------------------


def customers(app: FastAPI, gateway: Gateway) -> None:
    async def allowed(request: Request, conversation_id: Subject) -> str:
        if not gateway.knows("conversation", conversation_id, _bearer(request)):
            raise Refused(401, "no_token", "show the token of this conversation: Authorization: Bearer …")
        return conversation_id

    Mine = Annotated[str, Depends(allowed)]  # noqa: N806 - a type
    path = "/v1/conversations/{conversation_id}"

    @app.post("/v1/conversations", status_code=201, tags=["customer"])
    async def open_conversation(body: NewConversation, key: Key = None) -> Opened:
        """Open a conversation. deskline hears of it with its first message."""
        customer = body.customer.model_dump(exclude_none=True)
        about = body.model_dump(include={"language", "entry_point"}, exclude_none=True)

        def work(turn: Turn) -> Done:
            asked = body.model_dump(mode="json")

            def act(_: str) -> Done:
                return {"conversation_id": desk.open_conversation(turn, body.shop_id, body.channel, customer, about)}

            return desk.once(turn, "open", key, asked, act)

        found: str = (await gateway.change(work))["conversation_id"]
        return Opened(conversation_id=found, token=gateway.token("conversation", found))

    @app.post(path + "/messages", status_code=202, tags=["customer"])
    async def say(conversation_id: Mine, body: CustomerMessage) -> Taken:
        """The customer writes; a closed conversation opens again."""
        extra = body.model_dump(exclude_none=True, exclude={"text", "message_id"}, mode="json")
        message_id = _new_id(body.message_id)
        return Taken(
            **await gateway.change(lambda turn: desk.receive(turn, conversation_id, message_id, body.text, extra))
        )

    @app.get(path + "/messages", tags=["customer"])
    async def listen(
        conversation_id: Mine,
        after: Annotated[
            int, Query(ge=0, le=_HIGHEST, description="Everything up to this number is on the screen.")
        ] = 0,
        wait_s: Annotated[float, Query(ge=0, le=LONGEST_POLL_S, description="Wait so long for something new.")] = 0,
    ) -> Done:
        """What is new behind `after`. Asking with an `after` confirms what was sent up to it: replies are delivered by that."""
        deadline = asyncio.get_running_loop().time() + wait_s
        await _confirm(gateway, conversation_id, after)
        with gateway.hub.watching(("conversation", conversation_id)) as changed:
            while True:
                changed.clear()
                found = await _look(gateway, conversation_id, after)
                left = deadline - asyncio.get_running_loop().time()
                if found["messages"] or left <= 0 or gateway.hub.closing:
                    return found
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), left)

    @app.post(path + "/read", tags=["customer"])
    async def customer_read(conversation_id: Mine, body: ReadReceipt) -> Done:
        """The customer has read a message of an agent or the robot."""

        def work(turn: Turn) -> tuple[str, list[float]]:
            # Who has read it has it on the screen, whichever of the two is heard first.
            seconds = delivery.confirm(turn, conversation_id, desk.number_of(turn, conversation_id, body.message_id))
            desk.read(turn, conversation_id, body.message_id, "customer", desk.customer_of(turn, conversation_id))
            return turn.conversation(conversation_id)["channel"], seconds

        _measured(gateway, *await gateway.change(work))
        return {}

    @app.post(path + "/close", tags=["customer"])
    async def customer_closes(conversation_id: Mine, body: Closing, key: Key = None) -> Done:
        """The customer ends the conversation."""

        def work(turn: Turn) -> Done:
            def act(thing: str) -> Done:
                by = desk.customer_of(turn, conversation_id)
                return desk.close(turn, conversation_id, thing, resolved=body.resolved, kind="customer", by=by)

            return desk.once(turn, f"close:{conversation_id}", key, body.model_dump(), act)

        return await gateway.change(work)

    @app.post(path + "/rating", tags=["customer"])
    async def rate(conversation_id: Mine, body: Rating, key: Key = None) -> Done:
        """One to five."""

        def work(turn: Turn) -> Done:
            def act(thing: str) -> Done:
                return desk.rate(turn, conversation_id, thing, body.score, body.comment)

            return desk.once(turn, f"rate:{conversation_id}", key, body.model_dump(), act)

        return await gateway.change(work)

    @app.post(path + "/complaints", status_code=201, tags=["customer"])
    async def complain(conversation_id: Mine, body: Complaint, key: Key = None) -> ComplaintOpened:
        """A complaint, to be closed within its time by an agent."""

        def work(turn: Turn) -> Done:
            def act(thing: str) -> Done:
                return desk.complain(turn, conversation_id, thing, body.category)

            return desk.once(turn, f"complain:{conversation_id}", key, body.model_dump(), act)

        return ComplaintOpened(**await gateway.change(work))

    @app.post(path + "/orders", status_code=202, tags=["customer"])
    async def order(conversation_id: Mine, body: Order) -> Done:
        """An order after advice, once for each order_id; for reports only."""
        return await gateway.change(lambda turn: desk.order(turn, conversation_id, body.order_id, body.amount))

    @app.websocket(path + "/socket")
    async def customer_socket(socket: WebSocket, conversation_id: str) -> None:
        """First frame in: {token, after}. Then {shown} for what is on the screen. Out: {message} and {state}."""
        hello = await _hello(socket, lambda token: gateway.knows("conversation", conversation_id, token))
        if hello is None:
            return
        shown = _number(hello.get("after"))

        async def hear(frame: dict[str, Any]) -> None:
            await _confirm(gateway, conversation_id, _number(frame.get("shown")))

        async def tell() -> None:
            await _confirm(gateway, conversation_id, shown)
            cursor, state = shown, None
            with gateway.hub.watching(("conversation", conversation_id)) as changed:
                while not gateway.hub.closing:
                    await changed.wait()
                    changed.clear()
                    found = await _look(gateway, conversation_id, cursor)
                    for message in found.pop("messages"):
                        await socket.send_json({"message": message})
                        cursor = message["seq"]
                    if found != state:
                        state = found
                        await socket.send_json({"state": found})

        gateway.metrics.screens["customer"].inc()
        try:
            await _both(socket, hear, tell)
        finally:
            gateway.metrics.screens["customer"].dec()


async def _confirm(gateway: Gateway, conversation_id: str, after: int) -> None:
    def work(turn: Turn) -> tuple[str, list[float]]:
        return turn.conversation(conversation_id)["channel"], delivery.confirm(turn, conversation_id, after)

    _measured(gateway, *await gateway.change(work))


def _measured(gateway: Gateway, channel: str, seconds: list[float]) -> None:
    for one in seconds:
        gateway.metrics.shown(channel, one)


async def _look(gateway: Gateway, conversation_id: str, after: int) -> Done:
    return await gateway.change(
        lambda turn: {
            "messages": delivery.due(turn, conversation_id, after),
            **desk.customer_state(turn, conversation_id),
        }
    )


def _number(value: object) -> int:
    return min(value, _HIGHEST) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


# --- WebSockets -----------------------------------------------------------------------------------------------------


async def _hello(socket: WebSocket, right: Callable[[str], bool]) -> dict[str, Any] | None:
    """The first frame, with the right token; else the socket is closed, and None."""
    await socket.accept()
    try:
        hello = await asyncio.wait_for(_frame(socket), _HELLO_S)
    except (TimeoutError, WebSocketDisconnect):
        hello = {}
    if not right(str(hello.get("token"))):
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(_UNAUTHORISED, "the first frame must carry the token")
        return None
    return hello


async def _frame(socket: WebSocket) -> dict[str, Any]:
    """The next frame; what is no JSON object is an empty one."""
    try:
        found = await socket.receive_json()
    except (ValueError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}


async def _both(
    socket: WebSocket, hear: Callable[[dict[str, Any]], Awaitable[None]], tell: Callable[[], Awaitable[None]]
) -> None:
    """Hear and tell until the other side goes."""

    async def listening() -> None:
        while True:
            await hear(await _frame(socket))

    tasks = [asyncio.ensure_future(listening()), asyncio.ensure_future(tell())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Refused):
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(_FORBIDDEN, result.code)
        # A screen that goes ends the telling in the middle: websockets and Starlette say so in several ways.
        elif isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
            raise result


# --- agents -------------------------------------------------------------------------------------------------------


def agents(app: FastAPI, gateway: Gateway) -> None:
    def configured(agent_id: str) -> bool:
        return any(agent_id in people for people in gateway.ears.shops.values())

    async def allowed(request: Request, agent_id: Subject) -> str:
        if not gateway.knows("agent", agent_id, _bearer(request)):
            raise Refused(401, "no_token", "get a session first: POST /v1/agents/{agent_id}/session")
        return agent_id

    Me = Annotated[str, Depends(allowed)]  # noqa: N806 - a type
    path = "/v1/agents/{agent_id}"
    conversation = path + "/conversations/{conversation_id}"

    @app.post(path + "/session", tags=["agent"])
    async def session(agent_id: Subject, body: Login) -> Session:
        """A token for this agent. Where the gateway has a staff token, it must be shown."""
        if gateway.staff_token is not None and not secrets.compare_digest(
            (body.staff_token or "").encode(), gateway.staff_token.encode()
        ):
            raise Refused(401, "no_token", "the staff token is missing or wrong")
        if not configured(agent_id):
            raise Refused(404, "no_agent", "no shop's configuration names this agent")
        return Session(token=gateway.token("agent", agent_id))

    @app.put(path + "/status", tags=["agent"])
    async def status(agent_id: Me, body: Status) -> Done:
        """Online, away or offline. The gateway repeats it while the desktop is there, and says offline when it is gone."""

        def work(turn: Turn) -> Done:
            desk.has_room(turn)
            found = desk.set_status(turn, agent_id, body.status, body.capacity, body.reason)
            desk.seen(turn, agent_id)
            return found

        return await gateway.change(work)

    @app.get(path + "/desk", tags=["agent"])
    async def my_desk(agent_id: Me) -> Done:
        """Status, offers and conversations. Asking counts as being there."""

        def work(turn: Turn) -> Done:
            desk.seen(turn, agent_id)
            return desk.desk_of(turn, agent_id)

        return await gateway.change(work)

    @app.post(path + "/assignments/{assignment_id}/accept", tags=["agent"])
    async def accept(agent_id: Me, assignment_id: Id, body: Reason) -> Done:
        """Take an offer."""
        return await gateway.change(
            lambda turn: desk.answer_offer(turn, agent_id, assignment_id, take=True, reason=body.reason)
        )

    @app.post(path + "/assignments/{assignment_id}/decline", tags=["agent"])
    async def decline(agent_id: Me, assignment_id: Id, body: Reason) -> Done:
        """Refuse an offer; somebody else is asked."""
        return await gateway.change(
            lambda turn: desk.answer_offer(turn, agent_id, assignment_id, take=False, reason=body.reason)
        )

    @app.get(conversation, tags=["agent"])
    async def view(agent_id: Me, conversation_id: Subject) -> Done:
        """A conversation that is or was the agent's, with what the filter masked, suggestions, clocks and complaints."""
        return await gateway.change(lambda turn: desk.agents_view(turn, agent_id, conversation_id))

    @app.post(conversation + "/messages", status_code=202, tags=["agent"])
    async def write(agent_id: Me, conversation_id: Subject, body: AgentMessage) -> Taken:
        """The agent writes; by it he takes an offer that is open."""
        message_id = _new_id(body.message_id)

        def work(turn: Turn) -> Done:
            return desk.write(turn, agent_id, conversation_id, message_id, text=body.text, in_reply_to=body.in_reply_to)

        return Taken(**await gateway.change(work))

    @app.post(conversation + "/read", tags=["agent"])
    async def agent_read(agent_id: Me, conversation_id: Subject, body: ReadReceipt) -> Done:
        """The agent has read a message of the customer."""

        def work(turn: Turn) -> Done:
            desk.standing(turn, agent_id, turn.conversation(conversation_id))
            return desk.read(turn, conversation_id, body.message_id, "agent", agent_id)

        return await gateway.change(work)

    @app.post(conversation + "/transfer", tags=["agent"])
    async def transfer(agent_id: Me, conversation_id: Subject, body: Transfer, key: Key = None) -> Done:
        """Hand it on: to an agent, to skills, to a grade, or to whom the policy chooses."""

        def work(turn: Turn) -> Done:
            def act(thing: str) -> Done:
                to = None if body.to is None else body.to.model_dump(exclude_none=True)
                return desk.transfer(turn, agent_id, conversation_id, thing, to=to, note=body.note)

            return desk.once(turn, f"transfer:{conversation_id}", key, body.model_dump(mode="json"), act)

        return await gateway.change(work)

    @app.post(conversation + "/hold", tags=["agent"])
    async def hold(agent_id: Me, conversation_id: Subject, body: Reason, key: Key = None) -> Done:
        """It waits for the customer or a third party; clocks stand still."""
        return await _held(agent_id, conversation_id, body.reason, key, held=True)

    @app.post(conversation + "/resume", tags=["agent"])
    async def resume(agent_id: Me, conversation_id: Subject, body: Reason, key: Key = None) -> Done:
        """It goes on."""
        return await _held(agent_id, conversation_id, body.reason, key, held=False)

    async def _held(agent_id: str, conversation_id: str, reason: str | None, key: str | None, *, held: bool) -> Done:
        def work(turn: Turn) -> Done:
            def act(thing: str) -> Done:
                return desk.hold(turn, agent_id, conversation_id, thing, reason, held=held)

            return desk.once(turn, f"{'hold' if held else 'resume'}:{conversation_id}", key, {"reason": reason}, act)

        return await gateway.change(work)

    @app.post(conversation + "/close", tags=["agent"])
    async def agent_closes(agent_id: Me, conversation_id: Subject, body: Closing, key: Key = None) -> Done:
        """The agent ends the conversation."""

        def work(turn: Turn) -> Done:
            def act(thing: str) -> Done:
                return desk.close_by_agent(turn, agent_id, conversation_id, thing, resolved=body.resolved)

            return desk.once(turn, f"close:{conversation_id}", key, body.model_dump(), act)

        return await gateway.change(work)

    @app.post(conversation + "/complaints/{complaint_id}/close", tags=["agent"])
    async def close_complaint(agent_id: Me, conversation_id: Subject, complaint_id: Id) -> Done:
        """The complaint's loop is closed."""
        return await gateway.change(lambda turn: desk.close_complaint(turn, agent_id, conversation_id, complaint_id))

    @app.websocket(path + "/socket")
    async def agent_socket(socket: WebSocket, agent_id: str) -> None:
        """First frame in: {token}; then a frame, {} will do, at least every 20 s. Out: {desk} whenever it has changed."""
        if await _hello(socket, lambda token: gateway.knows("agent", agent_id, token)) is None:
            return

        async def hear(_: dict[str, Any]) -> None:
            await gateway.change(lambda turn: desk.seen(turn, agent_id))

        async def tell() -> None:
            before = None
            await hear({})
            with gateway.hub.watching(("agent", agent_id)) as changed:
                while not gateway.hub.closing:
                    await changed.wait()
                    changed.clear()
                    found = await gateway.change(lambda turn: desk.desk_of(turn, agent_id))
                    if found != before:
                        before = found
                        await socket.send_json({"desk": found})

        gateway.metrics.screens["agent"].inc()
        try:
            await _both(socket, hear, tell)
        finally:
            gateway.metrics.screens["agent"].dec()


# --- around ---------------------------------------------------------------------------------------------------------


def around(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/shops", tags=["both"])
    async def shops() -> dict[str, dict[str, str]]:
        """Shops with a configuration, and their agents: id → name."""
        return gateway.ears.shops

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(gateway.metrics.registry), media_type="text/plain; version=0.0.4")

    app.mount("/", StaticFiles(directory=PAGES, html=True))
