"""Where facts stand in the fold (contract §5 *Fold*; §3 for reopening messages and answers).

The key of a fact is a tuple that sorts by place, then topic, then offset, with three exceptions:

* a ``message.received`` at the instant of a close stands before that close, whatever their order in the log;
* an agent's or bot's message whose own time is not after that of the message it answers stands directly after it;
* a hand-over, and the first ``queued`` with cause no_autoreply or transfer, stand at ``waiting_since``, directly after the
  last ``message.received`` or ``transfer.requested`` of that instant, before an answer or a close; at their own time where
  a ``queue_full`` lies from ``waiting_since`` to before that time.

Keys, all beginning with the place:

    usual                            (place, topic, 2·offset)
    message before a close           (place, 0, 2·close − 1, offset)
    placed at waiting_since          (the last message's or transfer's key…, 1, topic, offset), or (place, -1, topic, offset)
    answer to a later message        (the message's key…, 2, 0, offset)

``arrange`` computes every key of a conversation; ``append`` puts a new fact behind the others where it surely stands
there and no other fact's key depends on it, which is nearly always so. What ``append`` accepts, ``arrange`` would give.
"""

from bisect import bisect_left

from deskline_sla.model import Cause, Fact, Key, Kind, Release

_ANSWERS = (Kind.ANSWERED, Kind.BOT_SENT, Kind.SYSTEM_SENT)
_OPENERS = (Kind.RECEIVED, Kind.TRANSFER)
# An answer is nearly always to one of the last few messages; further back ``append`` gives up and all is arranged anew.
_LOOK_BACK = 32


def key_of(fact: Fact) -> Key:
    return fact.key or usual(fact)


def usual(fact: Fact) -> Key:
    return (fact.at, fact.topic, 2 * fact.offset)


def waits(fact: Fact) -> bool:
    """Whether it is placed at ``waiting_since`` (queue_full aside)."""
    return fact.kind == Kind.HANDOVER or (fact.kind == Kind.QUEUED and fact.code != Cause.OTHER)


def provisional(fact: Fact) -> Key:
    """Orders new facts among themselves so that most can be appended one after the other."""
    return (fact.since, 0, fact.topic + 2**53, fact.offset) if waits(fact) else usual(fact)


def arrange(facts: list[Fact]) -> set[int]:
    """Give every fact its key and sort by it; returns the messages that answers name and that are not there (yet)."""
    closes: dict[int, int] = {}
    refusals: list[int] = []
    waiting: dict[int, Key] = {}
    answered: set[int] = set()
    for fact in facts:
        if fact.kind == Kind.CLOSED:
            closes[fact.at] = min(closes.get(fact.at, fact.offset), fact.offset)
        elif fact.kind == Kind.RELEASED and fact.code == Release.QUEUE_FULL:
            refusals.append(fact.at)
        elif fact.kind in _ANSWERS and fact.ref:
            answered.add(fact.ref)
        if waits(fact):
            waiting[fact.since] = ()
    refusals.sort()
    messages: dict[int, Fact] = {}
    for fact in facts:
        fact.key = ()
        if fact.kind not in _OPENERS:
            continue
        if fact.kind == Kind.RECEIVED:
            close = closes.get(fact.at)
            if close is not None and close < fact.offset:
                fact.key = (fact.at, 0, 2 * close - 1, fact.offset)
            if fact.ref in answered:
                first = messages.get(fact.ref)
                if first is None or fact.offset < first.offset:
                    messages[fact.ref] = fact
        if fact.at in waiting:
            waiting[fact.at] = max(waiting[fact.at], key_of(fact))
    for fact in facts:
        if fact.kind in _ANSWERS:
            message = messages.get(fact.ref)
            if message is not None and fact.at <= message.at:
                fact.key = (*key_of(message), 2, 0, fact.offset)
        elif waits(fact) and not _refused(fact, refusals):
            fact.key = _waiting_key(fact, waiting[fact.since])
    facts.sort(key=key_of)
    return answered.difference(messages)


def append(facts: list[Fact], fact: Fact, orphans: set[int], *, refusals: bool) -> bool:
    """Add ``fact`` at the end of the arranged ``facts``; False, with nothing changed, where it may not stand there.

    ``orphans``: messages named by answers read before them, kept here; ``refusals``: a queue_full has been read.
    """
    last = key_of(facts[-1]) if facts else ()
    kind = fact.kind
    key: Key = ()
    if kind in _OPENERS:
        # Later than all others, it shares its instant with no close and no hand-over.
        if (last and fact.at <= last[0]) or (kind == Kind.RECEIVED and fact.ref in orphans):
            return False
    elif waits(fact):
        if refusals:
            return False
        opener = _last_opener(facts, fact.since)
        if opener is None:
            return False
        key = _waiting_key(fact, opener)
    elif kind in _ANSWERS and fact.ref:
        message = _find(facts, fact.ref)
        if message is None:
            orphans.add(fact.ref)
            if last and last[0] >= fact.at:
                return False
        elif fact.at <= message.at:
            return False
    elif kind == Kind.RELEASED and fact.code == Release.QUEUE_FULL:
        return False
    if (key or usual(fact)) <= last:
        return False
    fact.key = key
    facts.append(fact)
    return True


def _refused(fact: Fact, refusals: list[int]) -> bool:
    """Whether a queue_full lies at or after ``waiting_since`` and before its own time; ``refusals`` is sorted."""
    index = bisect_left(refusals, fact.since)
    return index < len(refusals) and refusals[index] < fact.at


def _waiting_key(fact: Fact, opener: Key) -> Key:
    return (*opener, 1, fact.topic, fact.offset) if opener else (fact.since, -1, fact.topic, fact.offset)


def _last_opener(facts: list[Fact], place: int) -> Key | None:
    """The key of the last message or transfer of that instant, () where there is none, None where it lies too far back."""
    for fact in reversed(facts[-_LOOK_BACK:]):
        key = key_of(fact)
        if key[0] < place:
            return ()
        if fact.kind in _OPENERS and key[0] == place:
            return key
    return () if len(facts) <= _LOOK_BACK else None


def _find(facts: list[Fact], message: int) -> Fact | None:
    """The message among the last facts; of two with one id none: which was first is for ``arrange`` to say."""
    for fact in reversed(facts[-_LOOK_BACK:]):
        if fact.kind == Kind.RECEIVED and fact.ref == message:
            return fact
    return None
