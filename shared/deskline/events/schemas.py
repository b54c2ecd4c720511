"""The published form of the contract: a JSON Schema per event and an AsyncAPI document, generated from the models.

``python -m deskline.events.schemas`` writes ``docs/schemas/`` and ``docs/asyncapi.yaml`` below the current directory;
with ``--check`` it writes nothing and exits with 1 where they differ from the models (drift).

The schemas say what a *reader* admits: unknown fields, nulls in optional fields, unknown values of the lists of §4.
Schemas cannot say everything: that the key is the subject, that a member given twice counts once, how deep a record may
nest. ``deskline.events.verdict`` is the judge; a record that it accepts satisfies its schema.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from deskline.events.models import ENVELOPES, REGISTRY, Kind, Writer
from deskline.records import (
    AGENTS,
    ALL_TOPICS,
    CHECKPOINTS,
    CONVERSATIONS,
    DEAD_LETTERS,
    REPLIES,
    ROUTING,
    SHOPS,
    SLA,
)

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_GATEWAY_SOURCE: Final = r"^/gateway/([A-Za-z0-9._~:@!$&'()*+,;=/-]|%[0-9A-Fa-f]{2})+$"

# Contract §2. The key of every topic is the subject, but of dead letters, which keep the original key.
_KEYS: Final = {
    CONVERSATIONS: "conversation id",
    REPLIES: "conversation id",
    ROUTING: "conversation id",
    SLA: "conversation id",
    AGENTS: "agent id",
    SHOPS: "shop id",
    CHECKPOINTS: "topic-partition",
    DEAD_LETTERS: "original key",
}
_READERS: Final[dict[str, tuple[str, ...]]] = {
    CONVERSATIONS: ("autoreply", "router", "sla", "archive"),
    REPLIES: ("gateway", "router", "sla", "archive"),
    ROUTING: ("gateway", "autoreply", "sla", "archive"),
    SLA: ("gateway", "router", "archive", "dashboards"),
    AGENTS: ("router", "archive"),
    SHOPS: ("gateway", "autoreply", "router", "sla", "archive"),
    CHECKPOINTS: ("archive", "auditors"),
    DEAD_LETTERS: ("operators", "archive"),
}
_LETTER_WRITERS: Final = ("archive", "autoreply", "router", "sla")
_LETTER_HEADERS: Final = {
    "deskline-reason": "bad_json | bad_envelope | bad_data | key_mismatch | wrong_topic | wrong_source | "
    "unsupported_version | too_large | failed",
    "deskline-service": "who wrote the letter",
    "deskline-error": "what was wrong and where; never what a customer wrote",
    "deskline-topic": "full name of the original topic",
    "deskline-partition": "original partition",
    "deskline-offset": "original offset",
}


class _Plain(GenerateJsonSchema):
    """Without titles and defaults that only repeat a field's name and that it may be absent."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def event_schema(kind: Kind) -> dict[str, Any]:
    """JSON Schema (2020-12) of the whole record value of one event type."""
    schema = ENVELOPES[kind.name].model_json_schema(schema_generator=_Plain)
    source = schema["properties"]["source"]
    source["pattern" if kind.writer == "gateway" else "const"] = _source(kind.writer)
    return {"$schema": _DIALECT, "$id": f"{kind.name}.json", **schema, "title": kind.name}


def _source(writer: Writer) -> str:
    return _GATEWAY_SOURCE if writer == "gateway" else f"/deskline/{writer}"


def any_event_schema() -> dict[str, Any]:
    references = [{"$ref": f"{name}.json"} for name in REGISTRY]
    return {"$schema": _DIALECT, "$id": "any-event.json", "title": "Any event of the contract", "oneOf": references}


# --- AsyncAPI -------------------------------------------------------------------------------------------------------


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0: every topic a channel, every (who, reads or writes, topic) an operation."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "deskline",
            "version": "1",
            "description": "Topics and events of deskline. A configurable prefix may stand before every topic name. "
            "Records are CloudEvents 1.0 in structured form; the key is the subject in UTF-8, the partitioner murmur2 of "
            "the key. Readers ignore unknown fields and unknown types.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {topic: _channel(topic) for topic in ALL_TOPICS},
        "operations": dict(_operations()),
        "components": {
            "messages": {**{name: _message(kind) for name, kind in REGISTRY.items()}, "dead-letter": _LETTER}
        },
    }


def _channel(topic: str) -> dict[str, Any]:
    names = [kind.name for kind in REGISTRY.values() if kind.topic == topic] or ["dead-letter"]
    return {
        "address": topic,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "description": f"Key: {_KEYS[topic]}. Timestamps are LogAppendTime. Not compacted.",
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in ALL_TOPICS:
        written: dict[str, list[str]] = {}
        for kind in (kind for kind in REGISTRY.values() if kind.topic == topic):
            written.setdefault(kind.writer, []).append(kind.name)
        if topic == DEAD_LETTERS:
            written = {writer: ["dead-letter"] for writer in _LETTER_WRITERS}
        for writer, names in written.items():
            yield f"{writer}-writes-{topic}", _operation(writer, "send", topic, names)
        every = [name for names in written.values() for name in names]
        for reader in _READERS[topic]:
            yield f"{reader}-reads-{topic}", _operation(reader, "receive", topic, list(dict.fromkeys(every)))


def _operation(who: str, action: str, topic: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "tags": [{"name": who}],
        "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in names],
    }


def _message(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "summary": (kind.model.__doc__ or "").strip(),
        "contentType": "application/cloudevents+json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./schemas/{kind.name}.json"},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": _KEYS[kind.topic]}, "bindingVersion": "0.5.0"}},
    }


_LETTER: Final[dict[str, Any]] = {
    "name": "dead-letter",
    "summary": "A record that cannot be handled: key and value are the original bytes, unchanged.",
    "contentType": "application/octet-stream",
    "headers": {
        "type": "object",
        "required": list(_LETTER_HEADERS),
        "properties": {
            **{name: {"type": "string", "description": text} for name, text in _LETTER_HEADERS.items()},
            "deskline-null": {"const": "1", "description": "present where the record had neither key nor value"},
        },
        "patternProperties": {"^original-deskline-": {"description": "an original header of that name"}},
    },
    "payload": {"description": "the original value, any bytes"},
}


# --- files ----------------------------------------------------------------------------------------------------------


def documents() -> dict[str, str]:
    """Path below ``docs/`` → text of every generated file."""
    made = {f"schemas/{name}.json": _json(event_schema(kind)) for name, kind in REGISTRY.items()}
    made["schemas/any-event.json"] = _json(any_event_schema())
    generated = (
        "# Generated from shared/deskline/events/models.py by `python -m deskline.events.schemas`; do not edit.\n"
    )
    made["asyncapi.yaml"] = generated + yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)
    return made


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def drift(docs: Path) -> list[str]:
    """Files below ``docs`` that differ from what the models say, are missing, or belong to no model any more."""
    made = documents()
    stale = [
        path
        for path, text in made.items()
        if not (docs / path).is_file() or (docs / path).read_text(encoding="utf-8") != text
    ]
    left = [f"schemas/{file.name}" for file in (docs / "schemas").glob("*") if f"schemas/{file.name}" not in made]
    return sorted(stale + left)


def write(docs: Path) -> None:
    (docs / "schemas").mkdir(parents=True, exist_ok=True)
    for path in drift(docs):
        (docs / path).unlink(missing_ok=True)
    for path, text in documents().items():
        (docs / path).write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deskline.events.schemas", description="Publish the event schemas.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where files are out of date")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the documents are (default: docs)")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.docs)
        return 0
    stale = drift(options.docs)
    for path in stale:
        sys.stderr.write(f"{options.docs / path} is out of date; run python -m deskline.events.schemas\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
