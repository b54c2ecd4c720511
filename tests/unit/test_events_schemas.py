"""The published schemas follow the models, and say in their own words what the verdict says."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deskline.events.models import ENVELOPES, REGISTRY
from deskline.events.schemas import any_event_schema, asyncapi, documents, drift, event_schema, main, write
from deskline.records import ALL_TOPICS, DEAD_LETTERS

DOCS = Path(__file__).parents[2] / "docs"

READ: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/gateway/demo",
    "type": "message.read.v1",
    "subject": "c-1",
    "time": "2026-11-25T03:30:00Z",
    "data": {"shop_id": "s", "message_id": "m", "reader": {"kind": "agent", "id": "a"}},
}


def test_the_committed_documents_are_what_the_models_say() -> None:
    assert drift(DOCS) == [], "run: python -m deskline.events.schemas"


def test_drift_names_what_differs_is_missing_or_is_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    assert drift(tmp_path) == []
    assert main(["--check", "--docs", str(tmp_path)]) == 0
    (tmp_path / "asyncapi.yaml").write_text("stale")
    (tmp_path / "schemas/sla.met.v1.json").unlink()
    (tmp_path / "schemas/message.forgotten.v1.json").write_text("{}")
    expected = ["asyncapi.yaml", "schemas/message.forgotten.v1.json", "schemas/sla.met.v1.json"]
    assert drift(tmp_path) == expected
    assert main(["--check", "--docs", str(tmp_path)]) == 1
    assert all(path in capsys.readouterr().err for path in ["asyncapi.yaml"])
    assert main(["--docs", str(tmp_path)]) == 0
    assert drift(tmp_path) == []


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_schema_is_a_valid_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(event_schema(REGISTRY[name]))


def test_every_event_is_in_the_union_and_in_the_list_of_schemas() -> None:
    assert set(ENVELOPES) == set(REGISTRY)
    assert [entry["$ref"] for entry in any_event_schema()["oneOf"]] == [f"{name}.json" for name in REGISTRY]
    assert {f"schemas/{name}.json" for name in REGISTRY} < set(documents())


@pytest.mark.parametrize(
    ("path", "value", "valid"),
    [
        ("unknown", {"a": 1}, True),
        ("source", "/gateway/taobao", True),
        ("source", "/gateway/", False),
        ("source", "/deskline/router", False),
        ("id", "", False),
        ("id", "a\n", False),
        ("id", "i" * 129, False),
        ("type", "message.read.v2", False),
        ("specversion", "1.1", False),
        ("data", {"shop_id": "s", "message_id": "m", "reader": {"kind": "bot", "id": "a"}}, False),
        ("data", {"shop_id": "s", "message_id": "m", "reader": {"kind": "agent", "id": "a"}, "more": None}, True),
        ("data", {"shop_id": "s", "reader": {"kind": "agent", "id": "a"}}, False),
    ],
)
def test_a_schema_admits_what_a_reader_admits(path: str, value: Any, valid: bool) -> None:
    validator = jsonschema.Draft202012Validator(event_schema(REGISTRY["message.read.v1"]))
    assert validator.is_valid(READ)
    assert validator.is_valid({**READ, path: value}) is valid


def test_the_asyncapi_document_says_who_reads_and_writes_every_topic() -> None:
    document = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert document == asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]) == set(ALL_TOPICS)
    operations = document["operations"]
    # Contract §2, row by row.
    for topic, writers, readers in [
        ("conversations.v1", {"gateway"}, {"autoreply", "router", "sla", "archive"}),
        ("replies.v1", {"autoreply"}, {"gateway", "router", "sla", "archive"}),
        ("routing.v1", {"router"}, {"gateway", "autoreply", "sla", "archive"}),
        ("sla.v1", {"sla"}, {"gateway", "router", "archive", "dashboards"}),
        ("agents.v1", {"gateway"}, {"router", "archive"}),
        ("shops.v1", {"config", "router"}, {"gateway", "autoreply", "router", "sla", "archive"}),
        ("checkpoints.v1", {"archive"}, {"archive", "auditors"}),
        (DEAD_LETTERS, {"archive", "autoreply", "router", "sla"}, {"operators", "archive"}),
    ]:
        mine = [entry for entry in operations.values() if entry["channel"]["$ref"] == f"#/channels/{topic}"]
        assert {entry["tags"][0]["name"] for entry in mine if entry["action"] == "send"} == writers
        assert {entry["tags"][0]["name"] for entry in mine if entry["action"] == "receive"} == readers


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()

    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if "$ref" in part else []
            return own + [found for inner in part.values() for found in references(inner)]
        return [found for inner in part for found in references(inner)] if isinstance(part, list) else []

    for reference in references(document):
        if reference.startswith("./"):
            assert (DOCS / reference).is_file(), reference
            continue
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target
