"""What people do at the gateway. Every function runs inside one transaction of the store (``Turn``): what it changes and
the events that tell of it become durable together, or not at all. Kafka is asked nothing: the outbox is published by
``kafka``, in order, for as long as it takes.
"""

import json
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from examples.gateway import rules
from examples.gateway.events import nested, told
from examples.gateway.rules import Fate, Refusal, Standing

from deskline.clock import rfc3339
from deskline.events import models
from deskline.records import Output

MOST_WAITING: Final = 10_000
"""Events in the outbox before nothing more is taken: a broker that is away for long must not fill the disk."""
HISTORY: Final = 200
"""Messages that a screen is given at most."""


class Refused(Exception):  # noqa: N818 - an answer, not a failure of ours
    """What was asked for cannot be done; the code is for programs, the words are for people."""

    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(words)
        self.status, self.code, self.words = status, code, words


_WORDS: Final = {
    Refusal.CLOSED: "the conversation is not open; a customer's message opens it",
    Refusal.NOT_YOURS: "the conversation is somebody else's, or waits for somebody: accept it first",
    Refusal.TOO_LATE: "the offer has run out",
}


def refuse(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise Refused(409, refusal.value, _WORDS[refusal])


@dataclass(slots=True)
class Turn:
    """One transaction: the connection, the instant (µs), and who must look again when it is durable."""

    db: sqlite3.Connection
    now: int
    touched: set[tuple[str, str]] = field(default_factory=set)
    """("conversation" or "agent", id)"""
    fates: list[Fate] = field(default_factory=list)
    """What became of replies in it."""

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.db.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self.db.execute(sql, values).fetchall()

    def touch(self, conversation_id: str) -> None:
        """Its screens look again: the customer's, and those of the agents who have it on their desks."""
        self.db.execute("UPDATE conversations SET version = version + 1 WHERE id = ?", (conversation_id,))
        self.touched.add(("conversation", conversation_id))
        for row in self.all(
            "SELECT agent_id FROM assignments WHERE conversation_id = ? AND state <> 'ended'"
            " UNION SELECT owner FROM conversations WHERE id = ? AND owner IS NOT NULL",
            conversation_id,
            conversation_id,
        ):
            self.touched.add(("agent", row["agent_id"]))

    def put(self, output: Output) -> None:
        self.db.execute(
            "INSERT INTO outbox (topic, key, value, at) VALUES (?, ?, ?, ?)",
            (output.topic, output.key, output.value, self.now),
        )

    def tell(
        self, model: type[models.Model], row: sqlite3.Row, thing: str, *, at: int | None = None, **data: Any
    ) -> int:
        """Put an event of the conversation into the outbox; its ``time``, µs. ``at``: where it happened earlier."""
        if at is None:
            (told_at,) = self.db.execute("SELECT told_at FROM conversations WHERE id = ?", (row["id"],)).fetchone()
            at = rules.next_time(self.now, told_at)
            self.db.execute("UPDATE conversations SET told_at = ? WHERE id = ?", (at, row["id"]))
        self.put(told(model, row["id"], thing, at, shop_id=row["shop_id"], **data))
        return at

    def conversation(self, conversation_id: str) -> sqlite3.Row:
        row = self.one("SELECT * FROM conversations WHERE id = ?", conversation_id)
        if row is None:
            raise Refused(404, "no_conversation", "there is no such conversation")
        return row

    def add(self, row: sqlite3.Row, message_id: str, author: tuple[str, str], text: str, at: int, **more: Any) -> int:
        """A message into the conversation's history, ``author`` by kind and id; its number there."""
        (seq,) = self.db.execute(
            "SELECT coalesce(max(seq), 0) + 1 FROM messages WHERE conversation_id = ?", (row["id"],)
        ).fetchone()
        names = ["conversation_id", "seq", "message_id", "author_kind", "author_id", "text", "at", *more]
        values = [row["id"], seq, message_id, *author, text, at, *more.values()]
        self.db.execute(
            f"INSERT INTO messages ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608 - our names
            values,
        )
        return int(seq)


def once(
    turn: Turn, scope: str, key: str | None, asked: dict[str, Any], act: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """What ``act`` answers, done once for one key: who asks again with it gets the same answer, and nothing is told twice.

    ``act`` is given the key; without one from the client a fresh one, and then nothing is remembered.
    """
    if key is None:
        return act(secrets.token_hex(16))
    name, body = f"{scope}:{key}", json.dumps(asked, sort_keys=True, ensure_ascii=False)
    before = turn.one("SELECT asked, answer FROM done WHERE scope = ?", name)
    if before is not None:
        if before["asked"] != body:
            raise Refused(409, "key_reused", "this Idempotency-Key was used for something else")
        found: dict[str, Any] = json.loads(before["answer"])
        return found
    answer = act(key)
    turn.db.execute("INSERT INTO done VALUES (?, ?, ?, ?)", (name, body, json.dumps(answer), turn.now))
    return answer


def has_room(turn: Turn) -> None:
    (waiting,) = turn.db.execute("SELECT count(*) FROM outbox").fetchone()
    if waiting >= MOST_WAITING:
        raise Refused(503, "busy", "Kafka has not taken what is waiting; try again in a moment")


# --- customers ----------------------------------------------------------------------------------------------------


def open_conversation(turn: Turn, shop_id: str, channel: str, customer: dict[str, Any], about: dict[str, Any]) -> str:
    """The id of a new conversation. Nothing is told: it begins with its first message."""
    conversation_id = f"g-{secrets.token_hex(12)}"
    turn.db.execute(
        "INSERT INTO conversations (id, shop_id, channel, customer, about) VALUES (?, ?, ?, ?, ?)",
        (conversation_id, shop_id, channel, json.dumps(customer), json.dumps(about)),
    )
    return conversation_id


def receive(turn: Turn, conversation_id: str, message_id: str, text: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The customer wrote. The same ``message_id`` again is the same message: nothing new is told."""
    row = turn.conversation(conversation_id)
    before = _before(turn, row, message_id, "customer", text=text, extra=extra)
    if before is not None:
        return before
    has_room(turn)
    attachments = extra.get("attachments")
    at = turn.tell(
        models.MessageReceived,
        row,
        message_id,
        message_id=message_id,
        channel=row["channel"],
        text=text,
        attachments=tuple(nested(models.Attachment, one) for one in attachments) if attachments else None,
        customer=nested(models.Customer, json.loads(row["customer"])),
        **json.loads(row["about"]),
        **{name: extra[name] for name in ("order_id", "product_id") if name in extra},
    )
    customer_id = json.loads(row["customer"])["customer_id"]
    seq = turn.add(row, message_id, ("customer", customer_id), text, at, extra=_stored(extra))
    # Contract §3: a message after a close reopens the conversation.
    turn.db.execute("UPDATE conversations SET state = 'open' WHERE id = ?", (conversation_id,))
    turn.touch(conversation_id)
    return {"message_id": message_id, "seq": seq, "at": rfc3339(at)}


def _stored(extra: dict[str, Any]) -> str | None:
    return json.dumps(extra, sort_keys=True) if extra else None


def _before(
    turn: Turn, row: sqlite3.Row, message_id: str, kind: str, *, text: str, extra: dict[str, Any]
) -> dict[str, Any] | None:
    found = turn.one(
        "SELECT seq, at, author_kind, text, extra FROM messages WHERE conversation_id = ? AND message_id = ?",
        row["id"],
        message_id,
    )
    if found is None:
        return None
    if (found["author_kind"], found["text"], found["extra"]) != (kind, text, _stored(extra)):
        raise Refused(409, "message_id_reused", "this message_id was used for another message of the conversation")
    return {"message_id": message_id, "seq": found["seq"], "at": rfc3339(found["at"])}


def customer_of(turn: Turn, conversation_id: str) -> str:
    found: str = json.loads(turn.conversation(conversation_id)["customer"])["customer_id"]
    return found


def number_of(turn: Turn, conversation_id: str, message_id: str) -> int:
    """The message's number in the conversation; 0 where there is none."""
    found = turn.one(
        "SELECT seq FROM messages WHERE conversation_id = ? AND message_id = ?", conversation_id, message_id
    )
    return 0 if found is None else int(found["seq"])


def read(turn: Turn, conversation_id: str, message_id: str, kind: str, reader: str) -> dict[str, Any]:
    """A read receipt: one for each message, by the other side."""
    row = turn.conversation(conversation_id)
    found = turn.one(
        "SELECT author_kind, read_at FROM messages WHERE conversation_id = ? AND message_id = ?"
        " AND (fate IS NULL OR fate = 'delivered')",
        conversation_id,
        message_id,
    )
    if found is None or (found["author_kind"] == "customer") == (kind == "customer"):
        raise Refused(404, "no_message", "the other side wrote no such message")
    if found["read_at"] is None:
        at = turn.tell(
            models.MessageRead,
            row,
            message_id,
            message_id=message_id,
            reader=nested(models.Reader, {"kind": kind, "id": reader}),
        )
        turn.db.execute(
            "UPDATE messages SET read_at = ? WHERE conversation_id = ? AND message_id = ?",
            (at, conversation_id, message_id),
        )
        turn.touch(conversation_id)
    return {}


def close(turn: Turn, conversation_id: str, key: str, *, resolved: bool, kind: str, by: str) -> dict[str, Any]:
    row = turn.conversation(conversation_id)
    if row["state"] != "open":
        refuse(Refusal.CLOSED)
    turn.touch(conversation_id)  # before its agents are no longer its agents
    turn.tell(models.ConversationClosed, row, key, resolved=resolved, by=nested(models.Party, {"kind": kind, "id": by}))
    turn.db.execute(
        "UPDATE conversations SET state = 'closed', owner = NULL, on_hold = 0 WHERE id = ?", (conversation_id,)
    )
    # deskline says so too, in a moment. Until it does nobody may act on what has ended.
    turn.db.execute("UPDATE assignments SET state = 'ended' WHERE conversation_id = ?", (conversation_id,))
    turn.db.execute("UPDATE requests SET state = 'ended' WHERE conversation_id = ?", (conversation_id,))
    return {}


def rate(turn: Turn, conversation_id: str, key: str, score: int, comment: str | None) -> dict[str, Any]:
    row = turn.conversation(conversation_id)
    if row["state"] == "new":
        refuse(Refusal.CLOSED)
    turn.tell(models.ConversationRated, row, key, score=score, comment=comment)
    return {}


def order(turn: Turn, conversation_id: str, order_id: str, amount: str) -> dict[str, Any]:
    row = turn.conversation(conversation_id)
    customer_id = json.loads(row["customer"])["customer_id"]
    scope = f"order:{conversation_id}"
    asked = {"amount": amount}

    def act(thing: str) -> dict[str, Any]:
        turn.tell(models.OrderPlaced, row, thing, order_id=order_id, customer_id=customer_id, amount=amount)
        return {"order_id": order_id}

    return once(turn, scope, order_id, asked, act)


def complain(turn: Turn, conversation_id: str, key: str, category: str | None) -> dict[str, Any]:
    row = turn.conversation(conversation_id)
    complaint_id = f"complaint-{key}"
    turn.tell(models.ComplaintOpened, row, complaint_id, complaint_id=complaint_id, category=category)
    turn.db.execute("INSERT INTO complaints VALUES (?, ?, ?, 'open')", (complaint_id, conversation_id, category))
    turn.touch(conversation_id)
    return {"complaint_id": complaint_id}


# --- agents -------------------------------------------------------------------------------------------------------


def set_status(turn: Turn, agent_id: str, status: str, capacity: int | None, reason: str | None) -> dict[str, Any]:
    before = turn.one("SELECT told_at FROM agents WHERE id = ?", agent_id)
    at = rules.next_time(turn.now, 0 if before is None else before["told_at"])
    # Its time tells one beat from the next: on agents.v1 nothing is a duplicate.
    turn.put(
        told(
            models.AgentStatusChanged, agent_id, rfc3339(at), at,
            agent_id=agent_id, status=status, capacity=capacity, reason=reason,
        )
    )  # fmt: skip
    turn.db.execute(
        "INSERT INTO agents (id, status, capacity, told_at, seen_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET status = excluded.status, capacity = excluded.capacity, told_at = excluded.told_at",
        (agent_id, status, capacity, at, turn.now),
    )
    turn.touched.add(("agent", agent_id))
    return {"status": status, "capacity": capacity}


def seen(turn: Turn, agent_id: str) -> None:
    """The desktop has been heard of."""
    turn.db.execute("UPDATE agents SET seen_at = ? WHERE id = ?", (turn.now, agent_id))


def beat(turn: Turn) -> None:
    """Repeat every status; whose desktop is gone is offline (contract §3)."""
    for row in turn.all("SELECT * FROM agents WHERE status <> 'offline'"):
        if turn.now - row["seen_at"] > rules.GONE_S * 1_000_000:
            set_status(turn, row["id"], "offline", row["capacity"], "desktop gone")
        else:
            set_status(turn, row["id"], row["status"], row["capacity"], None)


def standing(turn: Turn, agent_id: str, row: sqlite3.Row) -> Standing:
    """Raises ``Refused`` for an agent who never had the conversation: he may not even look."""
    own = turn.all(
        "SELECT state, accept_by FROM assignments WHERE conversation_id = ? AND agent_id = ?", row["id"], agent_id
    )
    if not own and row["owner"] != agent_id:
        raise Refused(403, "not_yours", _WORDS[Refusal.NOT_YOURS])
    waiting = turn.one("SELECT 1 FROM requests WHERE conversation_id = ? AND state <> 'ended'", row["id"])
    offers = [one["accept_by"] for one in own if one["state"] == "offered"]
    return Standing(
        row["state"],
        row["owner"],
        waiting is not None,
        any(one["state"] == "held" for one in own),
        offers[0] if offers else None,
    )


def acting(turn: Turn, agent_id: str, conversation_id: str) -> sqlite3.Row:
    row = turn.conversation(conversation_id)
    refuse(rules.may_act(agent_id, standing(turn, agent_id, row)))
    return row


def write(
    turn: Turn, agent_id: str, conversation_id: str, message_id: str, *, text: str, in_reply_to: str | None
) -> dict[str, Any]:
    """The agent wrote: a message that customers have by it, now or when they look again. By writing he takes his offer."""
    row = turn.conversation(conversation_id)
    before = _before(turn, row, message_id, "agent", text=text, extra={})
    if before is not None:
        return before
    refuse(rules.may_write(agent_id, standing(turn, agent_id, row), turn.now))
    if in_reply_to is not None and not turn.one(
        "SELECT 1 FROM messages WHERE conversation_id = ? AND message_id = ? AND author_kind = 'customer'",
        conversation_id,
        in_reply_to,
    ):
        raise Refused(404, "no_message", "in_reply_to names no message of the customer")
    author = nested(models.Author, {"kind": "agent", "id": agent_id})
    at = turn.tell(
        models.MessageSent, row, message_id, message_id=message_id, author=author, text=text, in_reply_to=in_reply_to
    )
    seq = turn.add(row, message_id, ("agent", agent_id), text, at, in_reply_to=in_reply_to)
    turn.db.execute(
        "UPDATE assignments SET state = 'held' WHERE conversation_id = ? AND agent_id = ? AND state = 'offered'",
        (conversation_id, agent_id),
    )
    turn.db.execute(
        "UPDATE conversations SET owner = ?, agent_wrote_at = ?, reminder = NULL WHERE id = ?",
        (agent_id, at, conversation_id),
    )
    turn.touch(conversation_id)
    return {"message_id": message_id, "seq": seq, "at": rfc3339(at)}


def answer_offer(turn: Turn, agent_id: str, assignment_id: str, *, take: bool, reason: str | None) -> dict[str, Any]:
    """The agent's answer to an offer. Asked again, the same answer."""
    found = turn.one("SELECT * FROM assignments WHERE id = ? AND agent_id = ?", assignment_id, agent_id)
    if found is None:
        raise Refused(404, "no_assignment", "there is no such assignment of yours")
    scope = f"answer:{assignment_id}"

    def act(thing: str) -> dict[str, Any]:
        if found["state"] != "offered" or (found["accept_by"] is not None and turn.now > found["accept_by"]):
            refuse(Refusal.TOO_LATE)
        row = turn.conversation(found["conversation_id"])
        turn.touch(row["id"])
        model = models.AssignmentAccepted if take else models.AssignmentDeclined
        turn.tell(model, row, thing, assignment_id=assignment_id, agent_id=agent_id, reason=reason)
        turn.db.execute("UPDATE assignments SET state = ? WHERE id = ?", ("held" if take else "ended", assignment_id))
        if take:
            turn.db.execute("UPDATE conversations SET owner = ? WHERE id = ?", (agent_id, row["id"]))
        return {"assignment_id": assignment_id, "conversation_id": row["id"]}

    return once(turn, scope, assignment_id, {"take": take}, act)


def transfer(
    turn: Turn, agent_id: str, conversation_id: str, key: str, *, to: dict[str, Any] | None, note: str | None
) -> dict[str, Any]:
    row = acting(turn, agent_id, conversation_id)
    turn.touch(conversation_id)
    turn.tell(
        models.TransferRequested,
        row,
        key,
        by_agent_id=agent_id,
        to=nested(models.TransferTarget, to or None),
        note=note,
    )
    turn.db.execute("UPDATE conversations SET owner = NULL WHERE id = ?", (conversation_id,))
    turn.db.execute(
        "UPDATE assignments SET state = 'ended' WHERE conversation_id = ? AND agent_id = ?", (conversation_id, agent_id)
    )
    return {}


def hold(
    turn: Turn, agent_id: str, conversation_id: str, key: str, reason: str | None, *, held: bool
) -> dict[str, Any]:
    """Waiting for the customer or a third party, and its end. What is so already is not told again."""
    row = acting(turn, agent_id, conversation_id)
    if bool(row["on_hold"]) != held:
        turn.tell(models.ConversationHeld if held else models.ConversationResumed, row, key, reason=reason)
        turn.db.execute("UPDATE conversations SET on_hold = ? WHERE id = ?", (held, conversation_id))
        turn.touch(conversation_id)
    return {}


def close_by_agent(turn: Turn, agent_id: str, conversation_id: str, key: str, *, resolved: bool) -> dict[str, Any]:
    acting(turn, agent_id, conversation_id)
    return close(turn, conversation_id, key, resolved=resolved, kind="agent", by=agent_id)


def close_complaint(turn: Turn, agent_id: str, conversation_id: str, complaint_id: str) -> dict[str, Any]:
    """A complaint outlives its conversation: whoever had the conversation may close its loop."""
    row = turn.conversation(conversation_id)
    standing(turn, agent_id, row)
    found = turn.one(
        "SELECT state, category FROM complaints WHERE id = ? AND conversation_id = ?", complaint_id, conversation_id
    )
    if found is None:
        raise Refused(404, "no_complaint", "there is no such complaint in this conversation")
    if found["state"] == "open":
        turn.tell(models.ComplaintClosed, row, complaint_id, complaint_id=complaint_id, category=found["category"])
        turn.db.execute("UPDATE complaints SET state = 'closed' WHERE id = ?", (complaint_id,))
        turn.touch(conversation_id)
    return {}


# --- what screens show --------------------------------------------------------------------------------------------


def desk_of(turn: Turn, agent_id: str) -> dict[str, Any]:
    """The agent's desk: status, and every conversation offered or held, the longest waiting first."""
    me = turn.one("SELECT status, capacity FROM agents WHERE id = ?", agent_id)
    rows = turn.all(
        "SELECT a.id assignment_id, a.state standing, a.accept_by, r.cause, r.priority, c.*,"
        # Since when the customer has had no word of an agent; null where he has.
        " (SELECT min(m.at) FROM messages m WHERE m.conversation_id = c.id AND m.author_kind = 'customer'"
        "  AND m.at > coalesce(c.agent_wrote_at, 0)) waiting_since"
        " FROM assignments a JOIN conversations c ON c.id = a.conversation_id LEFT JOIN requests r ON r.id = a.request_id"
        " WHERE a.agent_id = ? AND a.state <> 'ended' ORDER BY a.at",
        agent_id,
    )
    return {
        "agent_id": agent_id,
        "status": "offline" if me is None else me["status"],
        "capacity": None if me is None else me["capacity"],
        "conversations": [
            {
                "conversation_id": row["id"],
                "version": row["version"],
                "shop_id": row["shop_id"],
                "customer": json.loads(row["customer"]),
                "assignment_id": row["assignment_id"],
                "standing": row["standing"],
                "accept_by": None if row["accept_by"] is None else rfc3339(row["accept_by"]),
                "cause": row["cause"],
                "priority": row["priority"],
                "waiting_since": None if row["waiting_since"] is None else rfc3339(row["waiting_since"]),
                "on_hold": bool(row["on_hold"]),
                "reminder": None if row["reminder"] is None else json.loads(row["reminder"]),
            }
            for row in rows
        ],
    }


def agents_view(turn: Turn, agent_id: str, conversation_id: str) -> dict[str, Any]:
    """A conversation as its agents see it: with what the filter masked, and what the robot suggests."""
    row = turn.conversation(conversation_id)
    standing(turn, agent_id, row)
    messages = turn.all(
        "SELECT * FROM messages WHERE conversation_id = ? ORDER BY seq DESC LIMIT ?", conversation_id, HISTORY
    )
    return {
        "conversation_id": conversation_id,
        "version": row["version"],
        "shop_id": row["shop_id"],
        "channel": row["channel"],
        "customer": json.loads(row["customer"]),
        "state": row["state"],
        "owner": row["owner"],
        "on_hold": bool(row["on_hold"]),
        "messages": [shown(one, masked=True) for one in reversed(messages)],
        "suggestions": json.loads(row["suggestions"] or "[]"),
        "clocks": [
            {"metric": one["metric"], "state": one["state"], "due_at": one["due_at"]}
            for one in turn.all("SELECT * FROM clocks WHERE conversation_id = ? ORDER BY due_at", conversation_id)
        ],
        "complaints": [
            {"complaint_id": one["id"], "category": one["category"], "state": one["state"]}
            for one in turn.all("SELECT * FROM complaints WHERE conversation_id = ?", conversation_id)
        ],
    }


def shown(row: sqlite3.Row, *, masked: bool) -> dict[str, Any]:
    """A message as screens get it."""
    text = row["masked_text"] if masked and row["masked_text"] is not None else row["text"]
    found = {
        "seq": row["seq"],
        "message_id": row["message_id"],
        "author": {"kind": row["author_kind"], "id": row["author_id"]},
        "text": text,
        "at": rfc3339(row["at"]),
        "in_reply_to": row["in_reply_to"],
        "read": row["read_at"] is not None,
        "fate": row["fate"],
        "attachments": json.loads(row["extra"]).get("attachments") if row["extra"] else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def customer_state(turn: Turn, conversation_id: str) -> dict[str, Any]:
    """What stands beside the messages on a customer's screen."""
    row = turn.conversation(conversation_id)
    queue = turn.one(
        "SELECT position, estimated_wait_s FROM requests WHERE conversation_id = ? AND state = 'queued'",
        conversation_id,
    )
    read_to = turn.one(
        "SELECT max(seq) seq FROM messages WHERE conversation_id = ? AND author_kind = 'customer' AND read_at IS NOT NULL",
        conversation_id,
    )
    return {
        "state": row["state"],
        "agent_id": row["owner"],
        "queue": None if queue is None else dict(queue),
        "read_to": 0 if read_to is None or read_to["seq"] is None else read_to["seq"],
    }


# --- forgetting ---------------------------------------------------------------------------------------------------


def expire(turn: Turn) -> None:
    """Replies whose time has passed get their fate, also where no screen asks any more."""
    late = turn.all("SELECT * FROM messages WHERE fate = 'pending' AND deliver_by < ?", turn.now)
    for row in late:
        reply = rules.Reply(row["deliver_by"], row["answered_at"], row["sent_at"])
        settle(turn, row["conversation_id"], row["seq"], rules.fate(reply, turn.now, None))


def forget(turn: Turn, keep_us: int) -> None:
    """What nobody can ask for any more goes, conversations that are not open after ``keep_us`` of silence.

    Ids and keys are kept for two days: within one a second record is a duplicate (contract §1), and so is it here.
    """
    remembered = turn.now - 2 * 86_400 * 1_000_000
    turn.db.execute("DELETE FROM heard WHERE at < ?", (remembered,))
    turn.db.execute("DELETE FROM done WHERE at < ?", (remembered,))
    ended = "SELECT id FROM conversations WHERE state <> 'open' AND told_at < ?"
    for table in ("messages", "requests", "assignments", "complaints", "clocks"):
        turn.db.execute(f"DELETE FROM {table} WHERE conversation_id IN ({ended})", (turn.now - keep_us,))  # noqa: S608 - our names
    turn.db.execute("DELETE FROM conversations WHERE state <> 'open' AND told_at < ?", (turn.now - keep_us,))


def settle(turn: Turn, conversation_id: str, seq: int, fate: Fate) -> None:
    turn.db.execute(
        "UPDATE messages SET fate = ? WHERE conversation_id = ? AND seq = ?", (fate.value, conversation_id, seq)
    )
    turn.fates.append(fate)
    turn.touch(conversation_id)
