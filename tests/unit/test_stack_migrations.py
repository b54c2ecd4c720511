"""Which migrations run; no database."""

import pytest

from deskline.errors import UsageError
from deskline.migrate import Migration, Schema, newer, pending, plan

FIRST, SECOND = Migration("router/0001_a.sql", "SELECT 1"), Migration("router/0002_b.sql", "SELECT 2")
ROUTER = Schema("router", (FIRST, SECOND))


def test_what_was_applied_does_not_run_again():
    assert pending(ROUTER, {}) == [FIRST, SECOND]
    assert pending(ROUTER, {FIRST.name: FIRST.sha256}) == [SECOND]
    assert pending(ROUTER, {FIRST.name: FIRST.sha256, SECOND.name: SECOND.sha256}) == []


def test_a_newer_release_may_have_applied_more():
    applied = {"router/0003_later.sql": "ab", FIRST.name: FIRST.sha256, SECOND.name: SECOND.sha256}
    assert pending(ROUTER, applied) == []
    assert newer(ROUTER, applied) == ["router/0003_later.sql"]


def test_a_file_that_changed_after_it_was_applied_is_refused():
    with pytest.raises(UsageError, match=r"router/0001_a\.sql was changed after it was applied"):
        pending(ROUTER, {FIRST.name: "0" * 64})


def test_a_file_that_names_its_former_text_goes_for_it():
    mended = Migration(FIRST.name, f"-- formerly: {FIRST.sha256}\nSELECT 1.0")
    schema = Schema("router", (mended,))
    assert pending(schema, {FIRST.name: FIRST.sha256}) == pending(schema, {FIRST.name: mended.sha256}) == []
    with pytest.raises(UsageError):
        pending(schema, {FIRST.name: SECOND.sha256})


def test_the_plan_has_a_schema_and_a_role_for_each_service_and_the_engine_first():
    schemas = {schema.name: schema for schema in plan()}
    assert {"config", "archive", "autoreply", "router", "sla"} <= set(schemas)
    assert schemas["sla"].role == "deskline_sla"
    for name in ("archive", "autoreply", "router", "sla"):
        assert schemas[name].migrations[0].name == "engine/0001_engine.sql"
    assert not any(migration.name.startswith("engine/") for migration in schemas["config"].migrations)
