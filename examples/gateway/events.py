"""What the gateway publishes. Ids name things and not attempts: whatever is sent again has the same id and bytes."""

from typing import Any, Final

from deskline import ids
from deskline.events import models, wire
from deskline.records import Output

SOURCE: Final = "/gateway/example"
BOT: Final = "assistant"


def told(model: type[models.Model], subject: str, thing: str, at: int, **data: Any) -> Output:
    """The event whose data ``model`` is, about ``thing``: one event of a type for a subject and a thing.

    Key, partitioner, ``content-type`` and the rest of contract §1 follow from it in ``deskline.kafka.Publisher``.
    Raises ``ValueError`` where the event would not be valid.
    """
    kind = _KINDS[model]
    value = wire.encode(
        kind.name,
        id=ids.event_id(subject, kind.name, thing),
        source=SOURCE,
        subject=subject,
        time=at,
        data=wire.new(model, **data),
    )
    return Output(kind.topic, subject.encode(), value)


_KINDS: Final = {kind.model: kind for kind in models.REGISTRY.values()}


def nested(model: type[models.Model], given: dict[str, Any] | None) -> Any:
    """A struct inside an event's data."""
    return None if given is None else wire.new(model, **given)
