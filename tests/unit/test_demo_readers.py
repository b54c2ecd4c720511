"""Files to conversations: every format, and mistakes named by file, line and what is expected, never by their text."""

import gzip
import io
import json
import zipfile

import pytest

from deskline.demo import irc, readers
from deskline.demo.recorded import Conversation, made_up, parse_line, typing_s
from deskline.errors import UsageError

LINE = {"turns": [{"from": "customer", "text": "秘密 secret"}, {"from": "agent", "text": "好的"}]}


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def only(conversations):
    (found,) = conversations
    return found


def spoken(conversation):
    return [(turn.by, turn.text) for turn in conversation.turns]


# --- what is shipped ------------------------------------------------------------------------------------------------


def test_what_is_shipped_is_english_and_chinese_and_varied():
    found = readers.shipped()
    shops = {shop: [each for each in found if each.shop == shop] for shop in ("support", "wardrobe", "wardrobe-night")}
    assert len(shops["support"]) > 150
    assert len(shops["wardrobe"]) + len(shops["wardrobe-night"]) >= 40
    assert len({each.id for each in found}) == len(found)
    chinese = "".join(turn.text for each in found if each.language == "zh" for turn in each.turns)
    assert all(word in chinese for word in ("尺码", "退款", "物流", "发票", "投诉", "转人工", "优惠", "在吗"))
    assert {each.customer.tier for each in shops["wardrobe"]} == {"new", "regular", "repeat", "high_spend", "vip"}
    assert all({turn.by for turn in each.turns} >= {"customer"} for each in found)


def test_shipped_names_are_not_people_s():
    text = "".join(turn.text for each in readers.shipped() if each.shop == "support" for turn in each.turns)
    assert "customer-" in text
    assert "karllekko" not in text
    assert "@gmail" not in text
    assert "sk_live" not in text


# --- the demo's own form --------------------------------------------------------------------------------------------


def test_a_line_needs_no_more_than_its_turns(tmp_path):
    path = write(tmp_path, "some.jsonl", json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "id": "second"}))
    first, second = readers.read_all([path])
    assert (first.id, second.id) == (f"{path}:1", "second")
    assert spoken(first) == [("customer", "秘密 secret"), ("agent", "好的")]
    assert first.shop is None


def test_what_is_written_is_read_again_the_same():
    full = Conversation.model_validate(
        {
            "id": "c", "shop": "wardrobe", "channel": "web", "language": "zh", "entry_point": "order", "complaint": "物流",
            "customer": {"customer_id": "u", "tier": "vip", "total_spend": "10.50", "order_count": 3, "name": "王"},
            "turns": [{"at_s": 0, "from": "customer", "text": "a", "attachment": "image"}],
        }
    )  # fmt: skip
    assert parse_line(full.as_line(), "f", 1) == full


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turns": []}, "turns"),
        ({"turns": [{"from": "agent", "text": "x"}]}, "no turn is from the customer"),
        ({"turns": [{"from": "robot", "text": "x"}]}, "turns.0.from"),
        ({"turns": [{"from": "customer"}]}, "turns.0.text"),
        ({"turns": [{"from": "customer", "text": "x" * 20_001}]}, "turns.0.text"),
        (
            {"turns": [{"from": "customer", "text": "x", "at_s": 5}, {"from": "agent", "text": "y", "at_s": 4}]},
            "at_s goes back",
        ),
        ({"turnz": []}, "turnz"),
        ({"id": "a\nb"}, "id"),
        ({"customer": {"total_spend": "-5"}}, "customer.total_spend"),
    ],
)
def test_a_mistake_is_named_by_line_and_field_and_shows_no_text(tmp_path, change, said):
    path = write(tmp_path, "bad.jsonl", json.dumps(LINE) + "\n" + json.dumps({**LINE, **change}))
    with pytest.raises(UsageError) as caught:
        readers.read_all([path])
    assert f"{path}:2: " in str(caught.value)
    assert said in str(caught.value)
    assert '"turns"' in str(caught.value)  # what is expected
    assert "秘密" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = write(tmp_path, "bad.jsonl", json.dumps(LINE) + "\n{oops")
    with pytest.raises(UsageError, match=r"bad\.jsonl:2: the line: "):
        readers.read_all([path])


def test_what_agents_say_before_the_customer_is_left_out():
    found = Conversation.model_validate(
        {
            "turns": [
                {"from": "agent", "text": "hi"},
                {"from": "customer", "text": "yes"},
                {"from": "agent", "text": "ok"},
            ]
        }
    )
    assert spoken(found) == [("customer", "yes"), ("agent", "ok")]


@pytest.mark.parametrize(
    ("turns", "gap_s"),
    [
        ([(0, "a"), (7.5, "b")], 7.5),  # as recorded
        ([(0, "a"), (900, "b")], 60.0),  # nobody watches a quarter of an hour
        ([(None, "a"), (None, "二十四个字二十四个字二十四个字")], 9.0),  # reads 4 s, types 15 characters at 3 a second
        ([(None, "a"), (None, "abcdef")], 5.0),  # 4 s and 6 letters at 6 a second
    ],
)
def test_pace_is_recorded_or_a_person_s(turns, gap_s):
    stated = [{"from": "customer", "text": text, **({} if at is None else {"at_s": at})} for at, text in turns]
    assert Conversation.model_validate({"turns": stated}).gap_s(1) == pytest.approx(gap_s)


def test_typing_counts_chinese_characters_for_more():
    assert typing_s("退款退款退款") == pytest.approx(2.0)
    assert typing_s("refund") == pytest.approx(1.0)


def test_a_made_up_customer_is_the_same_each_time_and_all_tiers_come():
    assert made_up("x") == made_up("x")
    assert {made_up(str(n))["tier"] for n in range(200)} == {"new", "regular", "repeat", "high_spend", "vip"}


# --- other people's forms -------------------------------------------------------------------------------------------

JDDC = (
    "s1\tU1\t0\t0\t0\tnan\t你好\n"
    "s1\tU1\t1\t0\t0\tnan\t有什么可以帮您\n"
    's1\tU1\t0\t0\t0\tnan\t"订单\n'
    "s2\tU2\t1\t0\t0\tnan\t欢迎\n"
    "s3\tU3\t0\t0\t0\tnan\t发票\n"
)


@pytest.mark.parametrize("pack", [lambda raw: raw, gzip.compress], ids=["plain", "gzip"])
def test_jddc_sessions_become_conversations(tmp_path, pack):
    path = write(tmp_path, "chat", pack(JDDC.encode()))
    first, third = readers.read_all([path])  # in s2 no customer says anything
    assert (first.id, third.id) == ("s1", "s3")
    assert spoken(first) == [("customer", "你好"), ("agent", "有什么可以帮您"), ("customer", '"订单')]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("s1\tU1\t0\t0\t0\ttoo few", "expected 7 tab-separated columns .* found 6"),
        ("s1\tU1\tx\t0\t0\tnan\t秘密", "is_agent 0 or 1"),
    ],
)
def test_a_mistake_in_jddc_is_named_by_its_line(tmp_path, line, said):
    path = write(tmp_path, "chat.tsv", JDDC + line)
    with pytest.raises(UsageError, match=rf"chat\.tsv:6: .*{said}") as caught:
        readers.read_all([path])
    assert "秘密" not in str(caught.value)


def test_crosswoz_in_a_zip_and_abcd(tmp_path):
    dialogue = {"7": {"messages": [{"role": "usr", "content": "找餐馆"}, {"role": "sys", "content": "好的"}]}}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("val.json", json.dumps(dialogue))
    woz = write(tmp_path, "val.json.zip", packed.getvalue())
    talk = [
        {
            "convo_id": 12,
            "original": [["agent", "Hi!"], ["customer", "Return"], ["action", "pulled up"], ["agent", "ok"]],
        }
    ]
    abcd = write(tmp_path, "abcd.json", json.dumps(talk))
    first, second = readers.read_all([woz, abcd])
    assert (first.id, spoken(first)) == ("7", [("customer", "找餐馆"), ("agent", "好的")])
    assert (second.id, spoken(second)) == ("12", [("customer", "Return"), ("agent", "ok")])


def channel(*lines):
    rows = ["log,timestamp_utc,nick,text"]
    rows += [f"one,2019-09-04T10:{minute:02d}:{second:02d},{nick},{text}" for minute, second, nick, text in lines]
    return "\n".join(rows) + "\n"


def helper(count=8):
    """``hal`` addresses enough others to count as one who answers; all that before ten past."""
    asked = [(0, n, f"someone{n}", "hi") for n in range(count)]
    return [*asked, *[(1, n, "hal", f"someone{n}: yes?") for n in range(count)]]


def test_a_channel_is_sorted_into_customers_with_staff(tmp_path):
    text = channel(
        *helper(),
        (10, 0, "bob", "my webhook fails"),
        (10, 5, "eve", "what is a payout"),
        (10, 30, "hal", "bob: which event?"),
        (10, 31, "hal", "and which mode?"),
        (10, 40, "hal", "eve: money to your bank"),
        (11, 0, "bob", "thanks hal mail me at bob@shop.example"),
    )
    found = {each["turns"][0]["text"]: each for each in irc.conversations(io.StringIO(text), "f")}
    webhook = found["my webhook fails"]["turns"]
    assert [(turn["at_s"], turn["from"], turn["text"]) for turn in webhook] == [
        (0.0, "customer", "my webhook fails"),
        # two lines within a second are one that was too long
        (31.0, "agent", "customer-1: which event? and which mode?"),
        (60.0, "customer", "thanks agent-1 mail me at [email]"),
    ]
    assert [turn["from"] for turn in found["what is a payout"]["turns"]] == ["customer", "agent"]
    path = write(tmp_path, "support.csv", text)
    assert {each.language for each in readers.read_all([path])} == {"en"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("see https://stripe.com/docs/api and https://my.shop/x?y=1", "see https://stripe.com/docs/api and [link]"),
        ("key sk_test_4eC39HqLyjWDarjtT1", "key [key]"),
        ("req_abcDEF1234 failed; card_errors too", "req_x failed; card_errors too"),
        ("call +1 415 555 26 71 or 10.0.0.1", "call [number] or [address]"),
    ],
)
def test_what_names_people_or_accounts_is_masked(text, masked):
    lines = channel(*helper(), (20, 0, "bob", text), (21, 0, "hal", "bob: ok"))
    said = [each["turns"] for each in irc.conversations(io.StringIO(lines), "f")]
    assert masked in [turn["text"] for turns in said for turn in turns]


def test_a_mistake_in_a_channel_s_log_is_named_by_its_line(tmp_path):
    path = write(tmp_path, "s.csv", channel(*helper()) + "one,yesterday,bob,hello\n")
    with pytest.raises(UsageError, match=r"s\.csv:18: expected log, timestamp_utc, nick, text"):
        readers.read_all([path])


# --- files that are none of these -----------------------------------------------------------------------------------


def test_what_is_no_format_is_refused_with_what_is_read(tmp_path):
    path = write(tmp_path, "notes.txt", "hello\n")
    with pytest.raises(UsageError, match=r"notes\.txt:1: not a format .*JDDC"):
        readers.read_all([path])


def test_text_that_is_no_utf_8_is_named_by_its_line(tmp_path):
    path = write(tmp_path, "gbk.tsv", JDDC.encode() + "s4\tU\t0\t0\t0\tnan\t退款".encode("gbk"))
    with pytest.raises(UsageError, match=r"gbk\.tsv:6: expected UTF-8"):
        readers.read_all([path])


@pytest.mark.parametrize("content", [b"\x1f\x8bbroken", b"PK\x03\x04broken"])
def test_a_broken_archive_is_named(tmp_path, content):
    with pytest.raises(UsageError, match="cannot be unpacked"):
        readers.read_all([write(tmp_path, "a.gz", content)])


def test_of_a_folder_what_is_no_conversation_is_passed_over(tmp_path):
    write(tmp_path, "README.md", "# notes")
    write(tmp_path, "chat.tsv", JDDC)
    assert len(readers.read_all([tmp_path])) == 2


def test_a_folder_without_conversations_a_missing_file_and_an_empty_one_are_said(tmp_path):
    with pytest.raises(UsageError, match="No conversations"):
        readers.read_all([tmp_path])
    with pytest.raises(UsageError, match="No such file"):
        readers.read_all([tmp_path / "nothing"])
    write(tmp_path, "README.md", "# notes")
    with pytest.raises(UsageError, match="not a format"):
        readers.read_all([tmp_path])
    assert only(readers.read_all([write(tmp_path, "one.jsonl", json.dumps(LINE))])).turns
