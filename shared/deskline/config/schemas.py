"""JSON Schemas of the documents, for editors: completion, descriptions and mistakes underlined while one types. Pure.

They say less than ``deskline config check``: what spans fields or files (names of calendars, one capacity per person) only
the check knows. A file names its schema in its first line: ``# yaml-language-server: $schema=…/sla.schema.json``.
"""

import json
from typing import Any

from deskline.config.base import DocumentKind
from deskline.config.documents import DOCUMENTS

_TITLES: dict[DocumentKind, str] = {
    "agents": "Agents of a shop",
    "calendars": "Business hours of a shop",
    "sla": "SLA targets of a shop",
    "routing": "Who gets which request",
    "limits": "Waiting times and limits of a shop",
    "rules": "Automatic replies and hand-overs",
}


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


def files() -> dict[str, str]:
    """File name → text, of every document."""
    return {file_name(kind): json.dumps(schema_of(kind), ensure_ascii=False, indent=2) + "\n" for kind in DOCUMENTS}
