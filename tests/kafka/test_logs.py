"""Logs carry ids and reasons, never what people wrote: not of good records, of bad ones, or of those that make us fail.

A whole stack of this test's own, at log level debug, whose decisions fail on some conversations with errors that quote
(``tests.fixtures.failing``). Every text of every record carries a mark; the logs of all services and servers are searched
for it in the spellings that a log may use.
"""

import asyncio
import contextlib
import json
import secrets
import shutil
import tempfile
from pathlib import Path

import asyncpg
import pytest
from tests.fixtures.failing import DIES, FAILS, command
from tests.load.envelopes import AGENTS, CONVERSATIONS, Draft, draft, envelope

from deskline.clock import now_us
from deskline.errors import TransientError
from deskline.kafka import partition_of, producer
from deskline.stack.http import get
from deskline.stack.stack import Options, Stack

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("logs")]

SERVICES = ("archive", "autoreply", "router", "sla")
SHADOW, SHOP = "shadow-shop", "shop-1"
RULES = """
shadow: %s
rules:
  - {rule_id: human, when: {any_of: [human]}, handover: {reason: asked_for_human}}
  - {rule_id: greeting, when: {any_of: [hello]}, reply: {text: "%s"}}
"""
# Short, so that a conversation whose events fail also meets its timer while the test looks on.
SLA = "policies:\n  - {policy_id: everybody, targets: {instant_reply: 1, agent_response: 1}}\n"


class People:
    """What they write, each text with the mark and a word that says where a leak came from."""

    def __init__(self, mark):
        self.mark = mark
        self.count = 0

    def event(self, type_, subject, **data):
        self.count += 1
        fields = {"shop_id": SHOP} | data
        return envelope(type_, subject, fields, now_us(), id_=f"e-{subject}-{self.count}")

    def says(self, subject, word="hello", **data):
        fields = {
            "message_id": f"m-{subject}-{self.count}",
            "channel": f"{self.mark}-channel",
            "entry_point": f"{self.mark}-entry-point",
            "language": f"{self.mark}-language",
            "text": f"{word} {self.mark}-text",
            "attachments": [{"kind": "image", "url": f"https://{self.mark}-url.invalid/a.jpg"}],
            "customer": {"customer_id": f"u-{subject}", "tier": f"{self.mark}-tier", "name": f"{self.mark}-name"},
        }
        return self.event("message.received", subject, **(fields | data))

    def conversation(self, subject, shop=SHOP):
        """All that can be said on ``conversations.v1``, to the end, and the first words of a new one."""
        agent = {"kind": "agent", "id": "ann"}
        told = [
            self.says(subject, "human"),
            self.event("message.sent", subject, message_id=f"s-{subject}", author=agent, text=f"{self.mark}-agent"),
            self.event("message.read", subject, message_id=f"s-{subject}", reader={"kind": "customer", "id": "u"}),
            self.event("conversation.held", subject, reason=f"{self.mark}-hold"),
            self.event("conversation.resumed", subject, reason=f"{self.mark}-resume"),
            self.event("complaint.opened", subject, complaint_id=f"k-{subject}", category=f"{self.mark}-category"),
            self.event("assignment.accepted", subject, assignment_id="none", agent_id="ann", reason=f"{self.mark}-yes"),
            self.event("assignment.declined", subject, assignment_id="none", agent_id="ann", reason=f"{self.mark}-no"),
            self.event(
                "transfer.requested",
                subject,
                by_agent_id="ann",
                to={"skills": [f"{self.mark}-skill"], "grade": f"{self.mark}-grade"},
                note=f"{self.mark}-note",
            ),
            self.event("complaint.closed", subject, complaint_id=f"k-{subject}", category=f"{self.mark}-category"),
            self.event("conversation.rated", subject, score=1, comment=f"{self.mark}-comment"),
            self.event("parcel.scanned", subject, note=f"{self.mark}-unknown-type"),
            self.event("conversation.closed", subject, resolved=True, by={"kind": f"{self.mark}-by", "id": "ann"}),
            self.says(subject),
        ]
        return [draft(each | {"data": each["data"] | {"shop_id": shop}}) for each in told]

    def status(self):
        data = {"agent_id": "ann", "status": "online", "reason": f"{self.mark}-status"}
        return draft(envelope("agent.status_changed", "ann", data, now_us(), id_=f"a-{self.count}"), AGENTS)

    def invalid(self):
        """Reason of the letter → records that get it, each with the mark."""
        subject = f"bad-{self.count}"
        good = self.says(subject)
        text = json.dumps(good)

        def raw(value):
            return Draft(CONVERSATIONS, subject.encode(), value)

        def data(**fields):
            return draft(good | {"data": good["data"] | fields})

        customer = good["data"]["customer"]
        reader = {"message_id": "m", "reader": {"kind": f"{self.mark}-reader", "id": "u"}}
        return {
            "bad_json": [
                raw(text[:-2].encode()),
                raw(text.encode() + f" {self.mark}-tail".encode()),
                raw(text.encode().replace(b"hello", b"\xff\xfe")),
                raw(text.replace("hello", "\\ud83d").encode()),
                raw(("[" * 40 + text + "]" * 40).encode()),
                raw(text.replace('"hello', 'NaN, "x": "hello').encode()),
                Draft(CONVERSATIONS, f"{self.mark}-key".encode(), None, ((f"{self.mark}-h", self.mark.encode()),)),
            ],
            "bad_envelope": [
                draft({name: value for name, value in good.items() if name != "time"}),
                draft(good | {"time": f"{self.mark}-time"}),
                draft(good | {"source": f"{self.mark} source"}),
                draft(good | {"specversion": f"{self.mark}-version"}),
                draft(good | {"id": f"{self.mark}\n-id"}),
                draft(good | {"data": f"{self.mark}-data"}),
            ],
            "key_mismatch": [draft(good)._replace(key=f"{self.mark}-key".encode())],
            "unsupported_version": [draft(good | {"type": f"message.received.v9{self.mark}"})],
            "wrong_topic": [draft(good, "replies.v1"), draft(good, AGENTS)],
            "wrong_source": [draft(good | {"source": "/deskline/router"}), draft(good | {"source": f"/x/{self.mark}"})],
            "bad_data": [
                data(text=f"{self.mark}-long" * 2_000),
                data(text=[f"{self.mark}-list"]),
                data(order_id=f"{self.mark}\t-control"),
                data(customer=customer | {"total_spend": f"{self.mark}-decimal"}),
                data(customer=customer | {"order_count": f"{self.mark}-count"}),
                data(attachments=f"{self.mark}-attachments"),
                draft(self.event("message.read", subject, **reader)),
                draft(self.event("order.placed", subject, order_id="o", customer_id="u", amount=f"{self.mark}-amount")),
            ],
            "too_large": [data(filler=f"{self.mark}-filler" * 30_000)],
        }


class Watched:
    """The stack, and what can be known of it without its logs."""

    def __init__(self, stack):
        self.stack = stack

    async def send(self, drafts):
        """In this order, in each partition; where each of them stands."""
        settings = self.stack.settings()
        client = producer(settings, "test")
        await client.start()
        try:
            places = []
            for of in drafts:
                place = partition_of(of.key, len(await client.partitions_for(of.topic)))
                places.append(
                    await client.send_and_wait(
                        of.topic, of.value, key=of.key, partition=place, headers=list(of.headers)
                    )
                )
            return [(each.topic, each.partition, each.offset) for each in places]
        finally:
            await client.stop()

    async def at_rest(self, places):
        """Everybody has caught up, and the archive holds these records."""
        answers = await asyncio.gather(*(get(f"{self.stack.services.find(name).http}/readyz") for name in SERVICES))
        if not all(
            answer is not None and answer[0] == 200 and json.loads(answer[1])["caught_up"] for answer in answers
        ):
            return False
        with contextlib.suppress(OSError, asyncpg.PostgresError, TransientError):
            kept = await self.fetch(
                "SELECT topic, partition, \"offset\" FROM archive.records WHERE topic != 'shops.v1'"
            )
            return set(places) <= {tuple(row) for row in kept}
        return False

    async def fetch(self, query):
        connection = await asyncpg.connect(self.stack.postgres_dsn)
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    async def letters(self):
        """(reason, service) of every letter."""
        rows = await self.fetch("SELECT headers FROM archive.records WHERE topic = 'dead-letters.v1'")
        headers = [
            {name: bytes.fromhex(value or "").decode("utf-8", "replace") for name, value in json.loads(row[0])}
            for row in rows
        ]
        return {(each["deskline-reason"], each["deskline-service"]) for each in headers}


def spellings(mark):
    """As a text, as bytea in an error of PostgreSQL, as code units of a wide encoding."""
    return [mark.encode(), mark.encode().hex().encode(), mark.encode("utf-16-le")]


def configuration(folder, mark):
    for shop, shadow in (("_default", "false"), (SHADOW, "true")):
        (folder / shop).mkdir(parents=True)
        (folder / shop / "rules.yaml").write_text(RULES % (shadow, f"{mark}-reply"))
    (folder / "_default" / "agents.yaml").write_text("agents:\n  - {agent_id: ann, capacity: 50}\n")
    (folder / "_default" / "sla.yaml").write_text(SLA)
    return folder


@pytest.fixture
async def watched():
    # Not under pytest's folder: as root, PostgreSQL runs under another account and must pass through.
    folder = Path(tempfile.mkdtemp(prefix="deskline-logs-"))
    folder.chmod(0o711)  # noqa: ASYNC240 - before anything runs that it could hold up
    mark = f"mark{secrets.token_hex(6)}"
    said = []
    options = Options(
        state_dir=folder / "state",
        config_dir=configuration(folder / "config", mark),
        partitions=2,
        durable=False,
        environment={"DESKLINE_LOG_LEVEL": "debug", "DESKLINE_CONFIG_LEAD_S": "0.5"},
        command=command,
    )
    stack = Stack(options, progress=said.append)
    try:
        await stack.start()
        yield Watched(stack), mark, said
    finally:
        await stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_no_log_holds_what_people_wrote_and_the_ids_stand_there(watched, eventually, capfd):
    stand, mark, said = watched
    people = People(mark)
    bad = people.invalid()
    drafts = [people.status(), *(each for group in bad.values() for each in group)]
    drafts += people.conversation("c-good") + people.conversation("c-shadow", SHADOW)
    drafts.append(draft(people.event("conversation.closed", "c-good", shop_id=SHADOW, resolved=True)))
    failing = [draft(people.says(f"{FAILS}1")), draft(people.event("conversation.closed", f"{FAILS}1", resolved=True))]
    # This one stays open until its timer: sla fails there, too.
    failing.append(draft(people.says(f"{FAILS}2")))
    dying = [draft(people.says(f"{DIES}1"))]
    places = await stand.send(drafts)
    failed = await stand.send(failing)
    places += failed + await stand.send(dying)
    await eventually(lambda: stand.at_rest(places), "at rest", 90)

    # The database goes while records come; what each service says about it is searched as well.
    assert stand.stack.postgres is not None
    stand.stack.postgres.kill()
    more = people.conversation("c-later") + people.conversation("c-later-shadow", SHADOW)
    places += await stand.send([*more, *people.invalid()["bad_data"]])
    await eventually(lambda: stand.at_rest(places), "at rest again", 120)

    def logs():
        state = stand.stack.state_dir
        files = [*(state / "logs").iterdir(), *state.rglob("server.log*")]
        return {file.relative_to(state).as_posix(): file.read_bytes() for file in files if file.is_file()}

    await eventually(lambda: b"timer failed" in logs()["logs/sla-1.log"], "sla's timer", 30)
    letters = await stand.letters()
    assert letters >= {(reason, "archive") for reason in bad} | {
        ("failed", each) for each in SERVICES if each != "archive"
    }
    await stand.stack.stop()

    captured = capfd.readouterr()
    searched = logs() | {
        "progress": "\n".join(said).encode(),
        "stdout": captured.out.encode(),
        "stderr": captured.err.encode(),
    }
    leaks = {
        f"{name}: {line[:400]!r}"
        for name, content in searched.items()
        for line in content.splitlines()
        if any(spelling in line.lower() for spelling in spellings(mark))
    }
    assert leaks == set()

    # And the search was of something: each service has told its life, the failures and the outage, by ids.
    lines = {name: [json.loads(line) for line in searched[f"logs/{name}-1.log"].splitlines()] for name in SERVICES}
    for name in SERVICES:
        events = {line["event"] for line in lines[name]}
        assert {"started", "lanes acquired", "stopped"} <= events, name
        assert events & {"waiting", "the database does not answer"}, name
    assert "stopped for good" in {line["event"] for line in lines["archive"]}
    for name in ("autoreply", "router", "sla"):
        told = {
            (line["topic"], line["partition"], line["offset"])
            for line in lines[name]
            if line["event"] == "record failed for good"
        }
        assert told & set(failed), name
    assert f"{FAILS}2" in {line["subject"] for line in lines["sla"] if line["event"].startswith("timer failed")}
    shadowed = {(line["subject"], line["message_id"]) for line in lines["autoreply"] if line["event"] == "shadow"}
    assert {subject for subject, _ in shadowed} == {"c-shadow", "c-later-shadow"}
    assert "c-good" in {line.get("subject") for line in lines["autoreply"] if "another shop" in line["event"]}
