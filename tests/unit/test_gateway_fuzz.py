"""Schemathesis puts to the gateway what its OpenAPI document allows, and what it does not: it answers as the document
says, never with a fault of its own, and all that it told is valid. No Kafka: the outbox keeps what was told.
"""

import asyncio
import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import schemathesis
import uvicorn
from examples.gateway import desk
from examples.gateway.__main__ import document
from examples.gateway.app import Gateway
from examples.gateway.desk import Turn
from examples.gateway.run import _Server
from examples.gateway.store import Store
from examples.gateway.web import build
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from deskline.clock import now_us
from deskline.events.wire import decode
from deskline.records import Event, Record
from deskline.settings import ServiceSettings

pytestmark = pytest.mark.xdist_group("gateway-fuzz")

SCHEMA = schemathesis.openapi.from_dict(json.loads(document()))
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


class Served(NamedTuple):
    address: str
    gateway: Gateway
    conversation: str
    loop: asyncio.AbstractEventLoop


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    """The gateway over HTTP in a thread, with an agent who has a conversation; its outbox is published by nobody, and
    looked through at the end.
    """
    file = tmp_path_factory.mktemp("fuzz") / "gateway.sqlite3"
    # Whoever asks before it serves waits in the socket's queue.
    listener = socket.create_server(("127.0.0.1", 0))
    ready, found, stop = threading.Event(), [], []

    async def main() -> None:
        async with Store(file) as store:
            gateway = Gateway(ServiceSettings(), store, staff_token=None, keep_days=30)
            gateway.ears.shops = {"s": {"anna": "安娜"}}

            def begin(turn: Turn) -> str:
                talk = desk.open_conversation(turn, "s", "web", {"customer_id": "k-1"}, {})
                turn.db.execute("INSERT INTO requests VALUES ('q', ?, 'assigned', 'handover', 50, 1, 0, '')", (talk,))
                turn.db.execute("INSERT INTO assignments VALUES ('a', 'q', ?, 'anna', 'held', NULL, 1)", (talk,))
                return talk

            talk = await gateway.change(begin)
            server = _Server(uvicorn.Config(build(gateway), log_config=None, access_log=False, lifespan="off"))
            serving = asyncio.create_task(server.serve([listener]))
            over, loop = asyncio.Event(), asyncio.get_running_loop()
            stop.append(over)
            found.append(Served(f"http://127.0.0.1:{listener.getsockname()[1]}", gateway, talk, loop))
            ready.set()
            await over.wait()
            gateway.hub.close()
            server.should_exit = True
            await serving

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    _all_told_is_valid(found[0])
    found[0].loop.call_soon_threadsafe(stop[0].set)
    thread.join(30)


def _all_told_is_valid(served: Served) -> None:
    def outbox(db: sqlite3.Connection) -> list[sqlite3.Row]:
        return db.execute("SELECT * FROM outbox").fetchall()

    for row in asyncio.run_coroutine_threadsafe(served.gateway.store.run(outbox), served.loop).result(60):
        event = decode(Record(row["topic"], 0, row["seq"], now_us(), row["key"], row["value"], ()))
        assert isinstance(event, Event), (event, row["value"])


@SCHEMA.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_answers_as_the_document_says(served, case):
    headers = {}
    # Half of what is asked is asked by those who may.
    if case.path_parameters and "conversation_id" in case.path_parameters and len(str(case.body)) % 2:
        case.path_parameters["conversation_id"] = served.conversation
    if case.path_parameters and "agent_id" in case.path_parameters:
        case.path_parameters["agent_id"] = "anna"
        headers["Authorization"] = f"Bearer {served.gateway.token('agent', 'anna')}"
    elif case.path_parameters and case.path_parameters.get("conversation_id") == served.conversation:
        headers["Authorization"] = f"Bearer {served.gateway.token('conversation', served.conversation)}"
    if case.query and "wait_s" in case.query:
        case.query.pop("wait_s")
    response = case.call(base_url=served.address, headers=headers)
    case.validate_response(response, checks=CHECKS, additional_checks=[])
