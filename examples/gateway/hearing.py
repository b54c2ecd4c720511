"""What deskline says, as the gateway takes it. ``take`` runs in the transaction that moves the position in the topic: a
record is heard once, whatever is restarted when. Outputs may come twice after a crash on deskline's side, with the same
``id``: ids are remembered for two days.
"""

import json
from typing import Any

from examples.gateway import rules
from examples.gateway.desk import Turn, settle
from examples.gateway.events import BOT
from examples.gateway.rules import Fate

from deskline.clock import parse_rfc3339
from deskline.records import Event


def take(turn: Turn, event: Event) -> None:
    conversation = turn.one("SELECT * FROM conversations WHERE id = ?", event.subject)
    if conversation is None:
        return  # another gateway's
    new = turn.db.execute("INSERT OR IGNORE INTO heard VALUES (?, ?)", (event.id, turn.now)).rowcount
    if not new:
        return
    # Before and after: an agent who has just lost it looks again, too.
    turn.touch(event.subject)
    _TAKERS.get(event.type, _nothing)(turn, event)
    turn.touch(event.subject)


def _nothing(turn: Turn, event: Event) -> None:
    """Types that this gateway shows nobody, and those of a later release."""


# --- replies.v1 -----------------------------------------------------------------------------------------------------


def _issued(turn: Turn, event: Event) -> None:
    data = event.data
    if turn.one("SELECT 1 FROM messages WHERE reply_id = ?", data.reply_id):
        return
    conversation = turn.conversation(event.subject)
    answered = turn.one(
        "SELECT at FROM messages WHERE conversation_id = ? AND message_id = ?", event.subject, data.in_reply_to
    )
    answered_at = event.at if answered is None else answered["at"]
    deliver_by = parse_rfc3339(data.deliver_by)
    fate = rules.fate(rules.Reply(deliver_by, answered_at, None), turn.now, conversation["agent_wrote_at"])
    seq = turn.add(
        conversation, f"bot-{data.reply_id}", ("bot", BOT), data.text, event.at, in_reply_to=data.in_reply_to,
        reply_id=data.reply_id, fate=Fate.PENDING.value, deliver_by=deliver_by, answered_at=answered_at,
    )  # fmt: skip
    if fate is not Fate.PENDING:
        settle(turn, event.subject, seq, fate)


def _handed_over(turn: Turn, event: Event) -> None:
    found = [{"entry_id": one.entry_id, "confidence": one.confidence} for one in event.data.suggestions or ()]
    turn.db.execute("UPDATE conversations SET suggestions = ? WHERE id = ?", (json.dumps(found), event.subject))


def _flagged(turn: Turn, event: Event) -> None:
    data = event.data
    if data.masked_text is None or data.action == "none":
        return
    # Of a reply it names the message answered, whose own text has nothing to be masked.
    author = "customer" if data.direction == "inbound" else "agent"
    turn.db.execute(
        "UPDATE messages SET masked_text = ? WHERE conversation_id = ? AND message_id = ? AND author_kind = ?",
        (data.masked_text, event.subject, data.message_id, author),
    )


# --- routing.v1 -----------------------------------------------------------------------------------------------------


def _queued(turn: Turn, event: Event) -> None:
    data = event.data
    turn.db.execute(
        "INSERT INTO requests VALUES (?, ?, 'queued', ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " priority = excluded.priority, position = excluded.position, estimated_wait_s = excluded.estimated_wait_s,"
        # What has ended, by a close that the router had not read yet, does not begin again.
        " state = CASE requests.state WHEN 'ended' THEN 'ended' ELSE 'queued' END",
        (
            data.request_id, event.subject, data.cause, data.priority, data.position, data.estimated_wait_s,
            data.waiting_since,
        ),
    )  # fmt: skip


def _assigned(turn: Turn, event: Event) -> None:
    data = event.data
    request = turn.one("SELECT state FROM requests WHERE id = ?", data.request_id)
    if request is not None and request["state"] == "ended":
        return  # closed meanwhile: its `released` follows
    offered = data.mode == "offered"
    accept_by = None if data.accept_by is None else parse_rfc3339(data.accept_by)
    turn.db.execute(
        "INSERT OR IGNORE INTO assignments VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            data.assignment_id, data.request_id, event.subject, data.agent_id, "offered" if offered else "held", accept_by,
            event.at,
        ),
    )  # fmt: skip
    turn.db.execute("UPDATE requests SET state = 'assigned' WHERE id = ?", (data.request_id,))
    if not offered:
        turn.db.execute("UPDATE conversations SET owner = ? WHERE id = ?", (data.agent_id, event.subject))


def _taken_back(turn: Turn, event: Event) -> None:
    _end_assignment(turn, event.subject, event.data.assignment_id)


def _released(turn: Turn, event: Event) -> None:
    turn.db.execute("UPDATE requests SET state = 'ended' WHERE id = ?", (event.data.request_id,))
    if event.data.assignment_id is not None:
        _end_assignment(turn, event.subject, event.data.assignment_id)


def _end_assignment(turn: Turn, conversation_id: str, assignment_id: str) -> None:
    found = turn.one("SELECT agent_id FROM assignments WHERE id = ?", assignment_id)
    if found is None:
        return
    turn.db.execute("UPDATE assignments SET state = 'ended' WHERE id = ?", (assignment_id,))
    # Who holds it by a later assignment keeps it.
    turn.db.execute(
        "UPDATE conversations SET owner = NULL WHERE id = ? AND owner = ? AND NOT EXISTS"
        " (SELECT 1 FROM assignments WHERE conversation_id = ? AND agent_id = ? AND state = 'held')",
        (conversation_id, found["agent_id"], conversation_id, found["agent_id"]),
    )


# --- sla.v1 ---------------------------------------------------------------------------------------------------------


def _ticking(turn: Turn, event: Event) -> None:
    data = event.data
    turn.db.execute(
        "INSERT INTO clocks VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state, due_at = excluded.due_at",
        (data.clock_id, event.subject, data.metric, event.type.split(".")[1], data.due_at),
    )


def _stopped(turn: Turn, event: Event) -> None:
    turn.db.execute("DELETE FROM clocks WHERE id = ?", (event.data.clock_id,))


def _reminded(turn: Turn, event: Event) -> None:
    data = event.data
    reminder: dict[str, Any] = {"kind": data.kind, "since": data.since, "n": data.n}
    turn.db.execute("UPDATE conversations SET reminder = ? WHERE id = ?", (json.dumps(reminder), event.subject))


_TAKERS = {
    "reply.issued.v1": _issued,
    "handover.requested.v1": _handed_over,
    "message.flagged.v1": _flagged,
    "conversation.queued.v1": _queued,
    "conversation.assigned.v1": _assigned,
    "assignment.expired.v1": _taken_back,
    "assignment.revoked.v1": _taken_back,
    "conversation.released.v1": _released,
    "sla.warning.v1": _ticking,
    "sla.breached.v1": _ticking,
    "sla.met.v1": _stopped,
    "sla.cancelled.v1": _stopped,
    "sla.breach_retracted.v1": _stopped,
    "sla.reminder.v1": _reminded,
}
