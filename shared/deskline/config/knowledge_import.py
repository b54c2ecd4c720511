"""Files of entries, products and promotions (YAML, CSV, JSONL) → checked items, or everything that is wrong, by row. Pure.

A row is an item, or one more phrasing of the item of a row above: rows of one id belong together. What a spreadsheet does to
text (a BOM, UTF-16, GB 18030, formulas, blank lines) is taken or refused here, never passed on.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from deskline.config.base import Document
from deskline.config.explain import is_echo
from deskline.config.knowledge_document import Entry, Knowledge, Product, Promotion
from deskline.config.yaml_source import read
from deskline.text import fold

FORMATS: Final = ("yaml", "csv", "jsonl")
_KINDS: Final[tuple[tuple[str, str, type[Document], str], ...]] = (
    ("entry_id", "entries", Entry, "phrasings"),
    ("product_id", "products", Product, "names"),
    ("promotion_id", "promotions", Promotion, "names"),
)
# What columns and keys are called, beside the names of the fields.
_ALIASES: Final = {
    "id": "entry_id",
    "question": "phrasings",
    "questions": "phrasings",
    "phrasing": "phrasings",
    "name": "names",
    "aliases": "names",
    "size_chart": "sizes",
    "size": "sizes",
    "start": "valid_from",
    "starts": "valid_from",
    "end": "valid_until",
    "ends": "valid_until",
    "编号": "entry_id",
    "问题": "phrasings",
    "问法": "phrasings",
    "答案": "answer",
    "回答": "answer",
    "标签": "tags",
    "开始": "valid_from",
    "结束": "valid_until",
    "商品编号": "product_id",
    "名称": "names",
    "价格": "price",
    "库存": "stock",
    "尺码": "sizes",
}
_LISTS: Final = frozenset({"phrasings", "names", "tags"})
_FORMULA: Final = ("=", "@", "+", "\t")


class RowError(NamedTuple):
    row: int
    """As a person counts them: of a CSV the line of a spreadsheet (the header is 1), of a JSONL the line, of a YAML file
    the line on which the item begins; 0: the file as a whole."""
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.message}" if self.row else self.message


class Imported(NamedTuple):
    items: dict[str, tuple[Document, ...]]
    """By list of the document: entries, products, promotions."""
    errors: list[RowError]


class _Row(NamedTuple):
    number: int
    value: dict[str, Any]


def parse(data: bytes, form: str) -> Imported:
    """``form``: one of ``FORMATS``."""
    errors: list[RowError] = []
    if form == "yaml":
        rows = list(_yaml(data, errors))
    else:
        text = _decoded(data, errors)
        rows = list((_csv if form == "csv" else _jsonl)(text, errors)) if text is not None else []
    items = _joined(rows, errors)
    if not (errors or any(items.values())):
        errors.append(RowError(0, "the file holds nothing to import"))
    return Imported({name: tuple(found) for name, found in items.items()}, sorted(errors))


def put(knowledge: Knowledge, imported: Imported) -> Knowledge:
    """With the imported items, which replace those of the same id. Raises ``ValidationError``."""
    fields: dict[str, Any] = {name: getattr(knowledge, name) for name in knowledge.model_fields_set}
    for key, name, _, _ in _KINDS:
        new = {getattr(item, key): item for item in imported.items.get(name, ())}
        if new:
            kept = [new.pop(getattr(item, key), item) for item in getattr(knowledge, name)]
            fields[name] = (*kept, *new.values())
    return Knowledge(**fields)


def _decoded(data: bytes, errors: list[RowError]) -> str | None:
    """UTF-8 with or without BOM, UTF-16 with one, else GB 18030: what spreadsheets in China save by default."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "gb18030")
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    errors.append(RowError(0, "the file is neither UTF-8 nor UTF-16 nor GB 18030; save it as UTF-8"))
    return None


def _csv(text: str, errors: list[RowError]) -> Iterator[_Row]:
    delimiter = max(",\t;", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            row, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [_named(cell) for cell in cells]
                twice = sorted({name for name in header if name and header.count(name) > 1})
                if twice:
                    errors.append(RowError(row, f"two columns mean {', '.join(twice)}; keep one"))
                    return
                continue
            if len(cells) > len(header):
                errors.append(
                    RowError(row, f"{len(cells)} cells, but the header has {len(header)}: quote texts with commas")
                )
                continue
            named = zip(header, cells, strict=False)
            yield _Row(row, {name: cell.strip() for name, cell in named if name and cell.strip()})
    except csv.Error as error:
        errors.append(RowError(line, f"this is no CSV: {error}"))


def _jsonl(text: str, errors: list[RowError]) -> Iterator[_Row]:
    # Not splitlines(): U+2028 and the like may stand in a text of JSON, and no editor counts them as lines.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            errors.append(RowError(number, f"this is no JSON: {error}"))
            continue
        yield from _row(number, value, errors)


def _yaml(data: bytes, errors: list[RowError]) -> Iterator[_Row]:
    text = _decoded(data, errors)
    if text is None:
        return
    source = read(text.encode())
    errors += [RowError(mistake.place.line, mistake.message) for mistake in source.mistakes]
    if source.mistakes:
        return
    value = source.value
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _row(source.place((number,)).line, item, errors)
    elif isinstance(value, dict):
        names = [name for _, name, _, _ in _KINDS]
        for name, items in value.items():
            if name not in names or not isinstance(items, list):
                errors.append(
                    RowError(source.place((name,), key=True).line, f"{name}: not a list of {', '.join(names)}")
                )
                continue
            for number, item in enumerate(items):
                yield from _row(source.place((name, number)).line, item, errors)
    else:
        errors.append(RowError(0, "the file is neither a list of entries nor a mapping with entries"))


def _row(number: int, value: Any, errors: list[RowError]) -> Iterator[_Row]:
    if isinstance(value, dict):
        yield _Row(number, {_named(str(key)): member for key, member in value.items()})
    else:
        errors.append(RowError(number, "this is no entry; write its fields with their names"))


def _named(cell: str) -> str:
    name = cell.strip().lower().replace(" ", "_")
    return _ALIASES.get(name, name)


def _joined(rows: list[_Row], errors: list[RowError]) -> dict[str, list[Document]]:
    """Rows of one id together, checked."""
    groups: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        key = next((key for key, _, _, _ in _KINDS if row.value.get(key)), None)
        if key is None:
            errors.append(RowError(row.number, "it has no entry_id, product_id or promotion_id"))
            continue
        formulas = [name for name, cell in row.value.items() if isinstance(cell, str) and cell.startswith(_FORMULA)]
        if formulas:
            named = ", ".join(formulas)
            errors.append(RowError(row.number, f"{named}: begins like a spreadsheet's formula; write it as text"))
            continue
        groups.setdefault((key, str(row.value[key])), []).append(row)
    items: dict[str, list[Document]] = {name: [] for _, name, _, _ in _KINDS}
    owners: dict[str, tuple[str, int]] = {}
    for (key, id_), group in groups.items():
        _, name, model, many = next(kind for kind in _KINDS if kind[0] == key)
        merged = _merged(group, many, errors)
        if merged is None:
            continue
        value, rows_of = merged
        if model is Entry and not _said_once(id_, group, many, owners, errors):
            continue
        try:
            items[name].append(model.model_validate_json(json.dumps(value, ensure_ascii=False), strict=True))
        except ValidationError as error:
            errors += [
                RowError(_row_of(each, rows_of, group[0].number), _explained(each))
                for each in error.errors()
                if not is_echo(each)
            ]
    return items


_RowsOf = dict[tuple[Any, ...], int]
"""(field,) or (field, place in its list) → the row that has it."""


def _merged(group: list[_Row], many: str, errors: list[RowError]) -> tuple[dict[str, Any], _RowsOf] | None:
    merged: dict[str, Any] = {}
    known: _RowsOf = {}
    for row in group:
        for name, cell in row.value.items():
            value = _listed(cell) if name in _LISTS else _number(name, cell)
            if name in _LISTS and isinstance(value, list):
                listed = merged.setdefault(name, [])
                for one in value:
                    if one not in listed:
                        known[name, len(listed)] = row.number
                        listed.append(one)
            elif merged.setdefault(name, value) != value:
                errors.append(RowError(row.number, f"{name} is another than in row {known[name,]}; write it once"))
                return None
            known.setdefault((name,), row.number)
    if not merged.get(many):
        errors.append(RowError(group[0].number, f"it has no {many}"))
        return None
    return merged, known


def _row_of(error: Any, known: _RowsOf, first: int) -> int:
    path = (*error["loc"], *error.get("ctx", {}).get("at", ()))
    return known.get(path[:2]) or known.get(path[:1]) or first


def _said_once(
    id_: str, group: list[_Row], many: str, owners: dict[str, tuple[str, int]], errors: list[RowError]
) -> bool:
    """No phrasing in two entries of the file."""
    good = True
    for row in group:
        for phrasing in _listed(row.value.get(many, [])):
            owner, where = owners.setdefault(fold(str(phrasing)), (id_, row.number))
            if owner != id_:
                errors.append(RowError(row.number, f"{phrasing!r} is a phrasing of {owner!r} (row {where}) too"))
                good = False
    return good


def _listed(cell: Any) -> list[Any]:
    """Several in one cell stand on lines of their own, or with | between."""
    if isinstance(cell, str):
        return [part.strip() for line in cell.splitlines() for part in line.split("|") if part.strip()]
    return cell if isinstance(cell, list) else [cell]


def _number(name: str, cell: Any) -> Any:
    return int(cell) if name == "stock" and isinstance(cell, str) and cell.isascii() and cell.isdigit() else cell


def _explained(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such field"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
