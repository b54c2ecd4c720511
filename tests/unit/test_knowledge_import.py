"""Files of entries become knowledge, or every mistake is named with its row."""

import json

import pytest

from deskline.config.knowledge_document import Knowledge
from deskline.config.knowledge_import import parse, put


def told(data: bytes | str, form: str) -> list[str]:
    return [str(error) for error in parse(data if isinstance(data, bytes) else data.encode(), form).errors]


def ids(imported) -> dict[str, list[tuple[str, ...]]]:
    return {
        name: [getattr(one, "phrasings", None) or one.names for one in items]
        for name, items in imported.items.items()
        if items
    }


CSV = "编号,问题,答案\nreturns,怎么退货,七天内可退\nreturns,能退吗,\ninvoice,怎么开发票|能开票吗,订单页申请\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_a_spreadsheet_is_read_in_the_encodings_that_spreadsheets_save(encoding):
    imported = parse(CSV.encode(encoding), "csv")
    assert imported.errors == []
    assert ids(imported) == {"entries": [("怎么退货", "能退吗"), ("怎么开发票", "能开票吗")]}


def test_yaml_and_jsonl_say_the_same():
    rows = [
        {"entry_id": "returns", "phrasings": ["怎么退货"], "answer": "七天内可退", "valid_until": "2026-12-31"},
        {"product_id": "P1", "names": ["大衣"], "price": "899 元", "stock": 3},
        {"promotion_id": "gift", "names": ["满赠"], "text": "送围巾", "valid_from": "2026-11-01"},
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    jsonl, yaml = parse(lines.encode(), "jsonl"), parse(json.dumps(rows, ensure_ascii=False).encode(), "yaml")
    assert jsonl == yaml
    assert jsonl.errors == []
    assert [len(items) for items in jsonl.items.values()] == [1, 1, 1]


def test_every_mistake_is_named_with_its_row():
    text = (
        "entry_id,question,answer,colour\n"  # 1
        "a,怎么退货,可以,\n"  # 2
        ",没有编号,可以,\n"  # 3
        'b,"=HYPERLINK(""x"")",可以,\n'  # 4
        "c,怎么退货,不可以,\n"  # 5
        "d,怎么寄,顺丰,red\n"  # 6
        "a,退货呢,别的,\n"  # 7
        "e,没有答案,,\n"  # 8
    )
    assert told(text, "csv") == [
        "row 3: it has no entry_id, product_id or promotion_id",
        "row 4: question: begins like a spreadsheet's formula; write it as text".replace("question", "phrasings"),
        "row 6: colour: there is no such field",
        "row 7: answer is another than in row 2; write it once",
        "row 8: answer: Field required",
    ]
    twice = "entry_id,question,answer\na,怎么退货,可以\nc,怎么 退货,不可以\n"
    assert told(twice, "csv") == ["row 3: '怎么 退货' is a phrasing of 'a' (row 2) too"]


def test_rows_are_those_of_the_spreadsheet_where_cells_have_several_lines():
    text = 'entry_id,question,answer\na,"一\n二",好\n,x,y\n'
    assert told(text, "csv") == ["row 4: it has no entry_id, product_id or promotion_id"]


def test_a_mistake_in_a_further_row_of_an_entry_is_told_of_that_row():
    text = (
        "entry_id,question,answer,kind,valid_from,valid_until\n"  # 1
        "a,怎么退货,,,2026-11-02,\n"  # 2
        f"a,{'长' * 401},可以,,,\n"  # 3
        "a,能退吗,,news,,\n"  # 4
        "a,退吗,,,,2026-13-01\n"  # 5
        "b,怎么寄,顺丰,,2026-11-02,\n"  # 6
        "b,寄吗,,,,2026-11-01\n"  # 7
    )
    assert [line.partition(":")[0] for line in told(text, "csv")] == ["row 3", "row 4", "row 5", "row 5", "row 7"]
    alone = f"entry_id,question,answer\na,{'长' * 401},可以\n"
    (message,) = told(alone, "csv")  # and not that there is no phrasing
    assert message.startswith("row 2: phrasings.0: ")


def test_a_separator_that_no_editor_counts_as_a_line_ends_no_row_of_jsonl():
    row = '{"entry_id": "a", "phrasings": ["一"], "answer": "好\u2028的"}'
    imported = parse(f"{row}\r\n\r\n{{}}".encode(), "jsonl")
    assert [str(error) for error in imported.errors] == ["row 3: it has no entry_id, product_id or promotion_id"]
    assert [entry.answer for entry in parse(row.encode(), "jsonl").items["entries"]] == ["好\u2028的"]


@pytest.mark.parametrize(
    ("text", "form", "says"),
    [
        ("", "csv", "the file holds nothing to import"),
        ('{"entry_id": 1', "jsonl", "row 1: this is no JSON"),
        ("[1]", "jsonl", "row 1: this is no entry"),
        ("entries: {a: 1}", "yaml", "row 1: entries: not a list"),
        ("entries:\n  - entry_id: a\n    phrasings: [x]\n", "yaml", "row 2: answer: Field required"),
        ("a: [", "yaml", "row "),
        ("entry_id,question,question\na,b,c\n", "csv", "row 1: two columns mean phrasings"),
        ("entry_id,question,answer\na,b,c,d\n", "csv", "row 2: 4 cells"),
    ],
)
def test_what_is_no_file_of_entries_is_said(text, form, says):
    first = told(text, form)[0]
    assert first.startswith(says)


def test_imported_items_replace_those_of_their_id_and_leave_the_rest():
    known = Knowledge.model_validate(
        {
            "suggestions": True,
            "entries": [
                {"entry_id": "a", "phrasings": ["一"], "answer": "old"},
                {"entry_id": "b", "phrasings": ["二"], "answer": "b"},
            ],
        }
    )
    new = put(known, parse("entry_id,question,answer\na,一|三,new\nc,四,c\n".encode(), "csv"))
    assert [(entry.entry_id, entry.answer) for entry in new.entries] == [("a", "new"), ("b", "b"), ("c", "c")]
    assert new.suggestions
