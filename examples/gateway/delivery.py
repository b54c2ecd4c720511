"""What a customer's screen is sent, and what it has confirmed.

Messages of a conversation are numbered. A screen says up to which number it shows them (``after``, ``shown``); it is sent
what is behind that, and shows no number twice. So a connection that breaks, or a gateway that starts again, sends again
what was not confirmed, and nothing is seen twice. An automatic reply is *delivered* when a screen has confirmed it:
only then ``message.sent`` tells deskline that it reached the customer.
"""

from typing import Any

from examples.gateway import rules
from examples.gateway.desk import HISTORY, Turn, settle, shown
from examples.gateway.events import BOT, nested
from examples.gateway.rules import Fate, Reply

from deskline.events import models


def due(turn: Turn, conversation_id: str, after: int) -> list[dict[str, Any]]:
    """Messages behind ``after`` that may be shown now, in order. Replies among them count as sent from here on."""
    conversation = turn.conversation(conversation_id)
    rows = turn.all(
        "SELECT * FROM (SELECT * FROM messages WHERE conversation_id = ? AND seq > ? ORDER BY seq DESC LIMIT ?) ORDER BY seq",
        conversation_id,
        after,
        HISTORY,
    )
    found = []
    for row in rows:
        if row["fate"] == Fate.PENDING:
            reply = Reply(row["deliver_by"], row["answered_at"], row["sent_at"])
            fate = rules.fate(reply, turn.now, conversation["agent_wrote_at"])
            if fate is not Fate.PENDING:
                settle(turn, conversation_id, row["seq"], fate)
                continue
            turn.db.execute(
                "UPDATE messages SET sent_at = ? WHERE conversation_id = ? AND seq = ?",
                (turn.now, conversation_id, row["seq"]),
            )
        elif row["fate"] not in (None, Fate.DELIVERED):
            continue
        message = shown(row, masked=False)
        message.pop("fate", None)
        found.append(message)
    return found


def confirm(turn: Turn, conversation_id: str, after: int) -> list[float]:
    """The screen shows everything up to ``after``: replies that were sent to it are delivered, and told.

    For each, the seconds from the customer's message to the screen. ``time`` of the event is when the reply was sent: it
    was seen then or a moment later, also where the confirmation comes late because the connection broke between.
    """
    rows = turn.all(
        "SELECT * FROM messages WHERE conversation_id = ? AND seq <= ? AND sent_at IS NOT NULL AND fate IN (?, ?)",
        conversation_id,
        after,
        Fate.PENDING.value,
        Fate.UNCONFIRMED.value,
    )
    if not rows:
        return []
    conversation = turn.conversation(conversation_id)
    for row in rows:
        turn.tell(
            models.MessageSent,
            conversation,
            row["message_id"],
            at=max(row["sent_at"], row["answered_at"] + 1),
            message_id=row["message_id"],
            author=nested(models.Author, {"kind": "bot", "id": BOT}),
            text=row["text"],
            in_reply_to=row["in_reply_to"],
            reply_id=row["reply_id"],
        )
        settle(turn, conversation_id, row["seq"], Fate.DELIVERED)
    return [(row["sent_at"] - row["answered_at"]) / 1_000_000 for row in rows]
