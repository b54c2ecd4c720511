"""JSON Schemas of the documents, for editors: completion, descriptions and mistakes underlined while one types. Pure.

They say less than ``deskline config check``: what spans fields or files (names of calendars, one capacity per person) only
the check knows. A file names its schema in its first line: ``# yaml-language-server: $schema=…/sla.schema.json``.
"""

import json
from typing import Any

from deskline.config.base import Document, DocumentKind
from deskline.config.documents import DOCUMENTS
from deskline.config.knowledge_document import Knowledge
from deskline.config.sensitive_document import Sensitive

_TITLES: dict[DocumentKind, str] = {
    "agents": "Agents of a shop",
    "calendars": "Business hours of a shop",
    "sla": "SLA targets of a shop",
    "routing": "Who gets which request",
    "limits": "Waiting times and limits of a shop",
    "rules": "Automatic replies and hand-overs",
}

_PARTS: dict[str, type[Document]] = {"knowledge": Knowledge, "sensitive": Sensitive}
_PART_TITLES = {"knowledge": "What a shop knows", "sensitive": "Words that are flagged, masked or blocked"}


def file_name(kind: DocumentKind) -> str:
    return f"{kind}.schema.json"


def schema_of(kind: DocumentKind) -> dict[str, Any]:
    schema = DOCUMENTS[kind].model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": file_name(kind),
        **schema,
        "title": _TITLES[kind],
    }


def _part_of(name: str) -> dict[str, Any]:
    """Of a part of ``rules`` in a file of its own."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{name}.schema.json",
        **_PARTS[name].model_json_schema(),
        "title": _PART_TITLES[name],
    }


def files() -> dict[str, str]:
    """File name → text, of every document and part."""
    schemas = {file_name(kind): schema_of(kind) for kind in DOCUMENTS}
    schemas |= {f"{name}.schema.json": _part_of(name) for name in _PARTS}
    return {name: json.dumps(schema, ensure_ascii=False, indent=2) + "\n" for name, schema in schemas.items()}
