"""What the knowledge base finds, and when it is sure."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deskline.config.knowledge_document import Entry, Knowledge, merged
from deskline.config.rules_document import RulesDocument, inherited
from deskline_autoreply.knowledge import retrieval
from deskline_autoreply.knowledge.background import SMALL as SMALL_BASE
from deskline_autoreply.knowledge.background import background
from deskline_autoreply.knowledge.calibration import NEVER, Judged, threshold
from deskline_autoreply.knowledge.index import FAINT, HOPELESS, Context, KnowledgeIndex
from deskline_autoreply.knowledge.lexicon import Lexicon
from deskline_autoreply.knowledge.ranking import Logistic, shipped
from deskline_autoreply.knowledge.retrieval import FEATURES, Retriever
from deskline_autoreply.knowledge.vectors import Encoder, encoder
from deskline_autoreply.knowledge.words import words_of


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


NOW = at("2026-11-28T12:00")

BASE = Knowledge.model_validate_json(
    json.dumps(
        {
            "precision_target": 0.9,
            "opening_hours": "9:00–22:00",
            "entries": [
                {
                    "entry_id": "returns",
                    "phrasings": ["怎么退货", "衣服不合适能退吗", "退货需要什么条件", "可以七天无理由退货吗"],
                    "answer": "签收七天内可以退货。",
                },
                {
                    "entry_id": "delivery",
                    "phrasings": ["多久能到货", "快递几天到", "什么时候送到", "下单后几天能收到"],
                    "answer": "一般三天内送达。",
                },
                {
                    "entry_id": "invoice",
                    "phrasings": ["怎么开发票", "能开发票吗", "发票在哪里申请"],
                    "answer": "在订单页申请电子发票。",
                },
                {
                    "entry_id": "eleven",
                    "phrasings": ["双十一有什么活动", "双11怎么优惠"],
                    "answer": "满三百减五十。",
                    "kind": "promotion",
                    "valid_from": "2026-11-01",
                    "valid_until": "2026-11-11",
                },
            ],
            "products": [
                {
                    "product_id": "P1",
                    "names": ["羊毛大衣", "大衣"],
                    "price": "899 元",
                    "stock": 3,
                    "sizes": "S、M、L",
                    "fields": {"材质": "八成羊毛"},
                },
                {"product_id": "P2", "names": ["牛仔裤"], "price": "299 元", "valid_until": "2026-11-20"},
            ],
            "promotions": [
                {
                    "promotion_id": "gift",
                    "names": ["满赠"],
                    "text": "满五百送围巾。",
                    "valid_from": "2026-11-20",
                    "valid_until": "2026-11-30",
                }
            ],
        }
    ),
    strict=True,
)


@pytest.fixture(scope="module")
def index() -> KnowledgeIndex:
    return KnowledgeIndex.of(BASE)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("怎么退货", "returns"),
        ("怎麼退貨？？", "returns"),
        ("Ｅ怎么开发票".removeprefix("Ｅ"), "invoice"),
        ("快递几天到呀", "delivery"),
    ],
)
def test_a_question_is_answered_whatever_script_and_signs_it_comes_in(index, text, entry) -> None:
    answer = index.answer(text, NOW)
    assert answer.near[0].entry_id == entry
    assert answer.near[0].confidence > 0.5


def test_a_phrasing_itself_is_certain(index) -> None:
    assert index.answer("能开发票吗", NOW).sure == index.search("能开发票吗", NOW)[0]
    assert index.search("能开发票吗", NOW)[0].confidence == 1.0


def test_what_shares_nothing_with_any_entry_comes_near_none(index) -> None:
    assert index.answer("xyzzy plugh", NOW) == (None, (), "")


@pytest.mark.parametrize(
    ("day", "found"), [("2026-10-31T23:59", False), ("2026-11-01T00:00", True), ("2026-11-12T00:00", False)]
)
def test_an_entry_answers_only_on_its_days(index, day, found) -> None:
    answer = index.answer("双十一有什么活动", at(day))
    assert (answer.sure is not None and answer.sure.entry_id == "eleven") is found
    assert found or all(near.entry_id != "eleven" for near in answer.near)


def test_an_answer_that_is_remembered_does_not_outlive_its_entry(index) -> None:
    """The same text again and again, over both ends of an entry's days."""
    question = "双十一有什么优惠活动"
    days = ["2026-10-31T23:59", "2026-11-01T00:00", "2026-11-11T23:59", "2026-11-12T00:00"]
    for day in [*days, *reversed(days), *days]:
        near = [one.entry_id for one in index.answer(question, at(day)).near]
        assert ("eleven" in near) is ("2026-11-01" <= day < "2026-11-12"), day
        assert index.answer(question, at(day)) == KnowledgeIndex.of(BASE).answer(question, at(day))


def test_what_is_shared_with_the_background_alone_is_nothing_shared() -> None:
    """A small base stands among questions of ordinary talk, which never answer."""
    one = KnowledgeIndex.of(BASE.model_copy(update={"entries": BASE.entries[:1], "questions": ()}))
    told = "how do i cancel my order"
    assert not set(words_of(told).units) & {unit for text in BASE.entries[0].phrasings for unit in words_of(text).units}
    assert one._retriever.near(told).features[:, FEATURES.index("covers_question")].max() == pytest.approx(1)
    assert one._retriever.evidence(words_of(told)) == 0
    assert not one.needs_vector(told, waiting=False)


def test_whoever_waits_already_is_answered_only_where_much_is_shared(index, monkeypatch) -> None:
    """What is not looked at costs no vector."""
    asked: list[str] = []
    vector = index._encoder.text
    monkeypatch.setattr(index._encoder, "text", lambda text: (asked.append(text), vector(text))[1])
    faint, close = "我想问一下昨天你们店里的那件衣服要是退", "请问怎么退货呢"
    assert HOPELESS < index._retriever.evidence(words_of(faint)) < FAINT < index._retriever.evidence(words_of(close))
    assert index.answer(faint, NOW, waiting=True) == (None, (), "")
    assert asked == []
    assert index.answer(faint, NOW).near
    assert index.answer(close, NOW, waiting=True) == index.answer(close, NOW)
    assert asked == [faint, close, close]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("羊毛大衣多少钱", "羊毛大衣的价格是 899 元。"),
        ("大衣还有货吗", "羊毛大衣现在有货，还有 3 件。"),
        ("大衣有哪些尺码", "羊毛大衣的尺码：S、M、L"),
        ("大衣什么材质", "羊毛大衣的材质：八成羊毛"),
        ("你们几点开门", "营业时间：9:00–22:00"),
        ("what are your hours", "Opening hours: 9:00–22:00"),
        ("满赠怎么算", "满五百送围巾。"),
    ],
)
def test_items_are_answered_by_field(index, text, said) -> None:
    sure = index.answer(text, NOW).sure
    assert sure is not None
    assert sure.answer == said


@pytest.mark.parametrize("text", ["大衣和牛仔裤哪个好", "牛仔裤多少钱", "大衣多少钱有货吗", "多少钱", "大衣能便宜点吗"])
def test_a_field_is_not_guessed(index, text) -> None:
    """Two products, one no longer sold, two fields at once, no product at all, haggling: each is for people."""
    sure = index.answer(text, NOW).sure
    assert sure is None or not sure.answer.startswith(("羊毛大衣", "牛仔裤"))


def test_a_follow_up_keeps_the_product_in_mind(index) -> None:
    first = index.answer("羊毛大衣多少钱", NOW)
    assert first.item == "P1"
    assert index.answer("那有L码吗", NOW).sure is None
    second = index.answer("那有L码吗", NOW, Context(item=first.item))
    assert second.sure is not None
    assert second.sure.answer == "羊毛大衣的尺码：S、M、L"
    assert second.item == "P1"


def test_the_product_that_the_gateway_states_is_meant_before_the_one_in_mind(index) -> None:
    sure = index.answer("多少钱", NOW, Context(product_id="P1", item="P2")).sure
    assert sure is not None
    assert sure.entry_id == "P1"


@pytest.mark.parametrize("text", ["2", "２", "第二个", "快递几天到", "多久能到货"])
def test_from_a_list_the_customer_chooses_by_number_or_words(index, text) -> None:
    sure = index.answer(text, NOW, Context(offered=("returns", "delivery"))).sure
    assert sure is not None
    assert sure.entry_id == "delivery"


def test_a_number_means_nothing_without_a_list(index) -> None:
    assert index.answer("2", NOW).sure is None


def test_the_same_question_gives_the_same_bits_whatever_was_asked_before() -> None:
    one, other = KnowledgeIndex(BASE, Encoder()), KnowledgeIndex(BASE, Encoder())
    other.search("能开一张发票吗", NOW)
    other.search("什么时候发货", NOW)
    assert one.search("退货怎么弄", NOW) == other.search("退货怎么弄", NOW)


def test_an_empty_knowledge_base_knows_nothing() -> None:
    assert KnowledgeIndex.of(Knowledge()).answer("怎么退货", NOW) == (None, (), "")


def test_a_stricter_target_never_answers_more() -> None:
    _, calibration = shipped()
    judged = [Judged(*row) for row in calibration]
    lines = [threshold(judged, target, 0.2).value for target in (0.8, 0.9, 0.95, 0.99)]
    assert lines == sorted(lines)


def test_out_of_scope_questions_weigh_as_much_as_traffic_has_of_them() -> None:
    """Four right, then one out of scope, one right: at a share of 0.5 the stranger weighs as much as all five of ours."""
    judged = [*(Judged(0.9, right=True, in_scope=True) for _ in range(4)), Judged(0.8, right=False, in_scope=False)]
    judged.append(Judged(0.7, right=True, in_scope=True))
    assert threshold(judged, 0.9, 0.5).value == 0.9  # 4/4; then 4/9, then 5/10
    assert threshold(judged, 0.9, 0.1).value == 0.7  # weight 5/9: 4/4.56 = 88 %, then 5/5.56 = 90 %
    assert threshold(judged, 0.95, 0.1).coverage == 0.8
    assert threshold([], 0.9, 0.2).value == NEVER


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), max_size=40),
    st.floats(0.5, 0.99),
    st.floats(0, 0.6),
)
@settings(max_examples=200, deadline=None)
def test_the_threshold_keeps_its_target_on_what_it_was_chosen_from(rows, target, share) -> None:
    judged = [Judged(p, right and inside, inside) for p, right, inside in rows]
    found = threshold(judged, target, share)
    given_ = [case for case in judged if case.confidence >= found.value]
    inside = sum(case.in_scope for case in judged)
    outside = len(judged) - inside
    weight = share / (1 - share) * inside / outside if outside else 0.0
    total = sum(1.0 if case.in_scope else weight for case in given_)
    assert not given_ or sum(case.right for case in given_) >= (target - 1e-9) * total


def test_a_lexicon_gives_the_cosine_of_a_text_with_itself_as_one() -> None:
    lexicon = Lexicon([("a", "b", "a"), ("b", "c"), ("d",)])
    assert lexicon.scores(("a", "b", "a"))[0].tolist() == pytest.approx([1, lexicon.scores(("a", "b", "a"))[0][1], 0])
    assert lexicon.scores(("zz",))[1].tolist() == [0, 0, 0]


def test_a_choice_is_learned_from_what_differs_within_a_group() -> None:
    """The first column tells the right row of each group; the second is the same for a whole group and tells nothing."""
    draw = np.random.default_rng(1)
    groups = [np.column_stack([draw.normal(size=4), np.full(4, draw.normal())]) for _ in range(200)]
    right = [int((group[:, 0] + 0.3 * draw.normal(size=4)).argmax()) for group in groups]
    model = Logistic.fit_choice(groups, right)
    assert model.weights[0] > 1
    assert abs(model.weights[1]) < 1e-6
    assert np.mean([model.logits(group).argmax() == one for group, one in zip(groups, right, strict=True)]) > 0.8


def test_a_large_base_is_searched_by_its_nearest_phrasings_and_finds_the_same(monkeypatch) -> None:
    """From 2 000 phrasings on the regressions take the nearest thirty-two; here all are among those."""
    phrasings, encoder = [entry.phrasings for entry in BASE.entries], Encoder()
    whole = Retriever(phrasings, encoder)
    monkeypatch.setattr(retrieval, "_WHOLE", 0)
    local = Retriever(phrasings, encoder)
    for text in ("退货怎么弄", "快递什么时候到", "申请发票"):
        one, other = whole.near(text), local.near(text)
        assert one.entries.tolist() == other.entries.tolist()
        assert np.abs(one.features - other.features).max() < 1e-5
        assert one.features.shape[1] == len(FEATURES)


@given(st.text(max_size=60))
@settings(deadline=None)  # the first text loads the dictionary
def test_any_text_has_words(text) -> None:
    words = words_of(text)
    assert len(words.streams) == 4
    assert words == words_of(text)


def test_the_same_phrasing_in_two_entries_is_refused_unless_their_times_are_apart() -> None:
    def both(**dates: str) -> Knowledge:
        entries = [
            {"entry_id": "a", "phrasings": ["怎么退货"], "answer": "A"},
            {"entry_id": "b", "phrasings": ["怎么 退货"], "answer": "B", **dates},
        ]
        return Knowledge.model_validate({"entries": entries})

    with pytest.raises(ValidationError, match="a phrasing of 'a' too"):
        both()
    with pytest.raises(ValidationError, match="a phrasing of 'a' too"):
        both(valid_from="2026-01-01")


def test_a_shop_that_inherits_overrides_by_id_and_by_phrasing() -> None:
    def entry(name: str, *phrasings: str, answer: str = "x") -> Entry:
        return Entry(entry_id=name, phrasings=phrasings, answer=answer)

    default = Knowledge(entries=(entry("a", "one"), entry("b", "two", "three"), entry("c", "four")), suggestions=True)
    own = Knowledge(inherit=True, entries=(entry("a", "uno", answer="own"), entry("d", "three", "four")))
    result = merged(default, own)
    assert [(one.entry_id, one.phrasings) for one in result.entries] == [
        ("a", ("uno",)),
        ("d", ("three", "four")),
        ("b", ("two",)),
    ]
    assert result.suggestions
    assert inherited(RulesDocument(knowledge=default), RulesDocument(knowledge=own)).knowledge == result


SMALL = ["怎么开发票", "可以开发票吗", "发票在哪里开"]
ORDINARY = [
    "排队吗", "附近有停车场么", "怎么退货", "你们几点下班", "怎么开店", "可以便宜点吗", "在哪里可以充电", "可以明天送吗", "怎么联系你们",
    "能不能快一点", "where is my order", "how do i pay", "可以开空调吗", "在哪里上车",
]  # fmt: skip


@pytest.mark.parametrize("entries", [1, 2, 5])
def test_a_small_base_is_silent_about_everything_else_and_answers_its_own(entries):
    others = [
        Entry(entry_id=f"e{n}", phrasings=(f"型号{n}的{word}是多少",), answer="-")
        for n, word in enumerate("长宽高重"[: entries - 1])
    ]
    index = KnowledgeIndex(
        Knowledge(entries=(Entry(entry_id="invoice", phrasings=tuple(SMALL), answer="订单页。"), *others))
    )
    for text in ORDINARY:
        assert index.answer(text, NOW).sure is None, text
    for text in ("请问怎么开发票", "能给我开发票吗", "开发票", *SMALL):
        sure = index.answer(text, NOW).sure
        assert sure is not None, text
        assert sure.entry_id == "invoice"
    for text in ORDINARY:
        assert {one.entry_id for one in index.search(text, NOW)} <= {entry.entry_id for entry in index.document.entries}


def test_nothing_stands_behind_a_base_that_has_runners_up_of_its_own():
    assert background([("怎么开发票",)] * (SMALL_BASE + 1), encoder()) == []
    assert background([], encoder()) == []
    # What a base answers itself is not held against it.
    assert ("怎么开发票",) not in background([("请问怎么开发票",)], encoder())
