"""Learning from traffic on real Kafka and PostgreSQL: mined, accepted, answered; replayed; reported as the log itself counts."""

import asyncio
import json
from collections import defaultdict

import pytest
from tests.fixtures.deployment import SHOP, Deployment, caught_up, gateway, said, wrote

from deskline.clock import SECOND, now_us, rfc3339
from deskline.events.models import Customer
from deskline.events.wire import new
from deskline.postgres import connect
from deskline.records import CONVERSATIONS, REPLIES
from deskline_archive.legal import order

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PARTITIONS = 4
PATIENCE_S = 90
COMMON = {
    "agents": "agents: [{agent_id: anna, capacity: 5}]",
    "limits": "patience_s: 600\nreply_max_age_s: 3600\n",
}


@pytest.fixture
def desk(topics):
    return Deployment(topics, PARTITIONS)


def customer(number, subject):
    return new(Customer, customer_id=f"u-{number}-{subject}")


# --- mine, accept, answered ---------------------------------------------------------------------------------------------

INVOICE = ["怎么开发票", "可以开发票吗", "发票怎么开呢", "我要开发票怎么弄", "能给我开个发票吗", "开发票在哪里"]
COURIER = ["发什么快递", "你们用什么快递", "快递发的哪家", "是什么快递呀", "发哪家快递的"]
ONE_OFFS = ["附近哪里有停车场", "蓝色的灯泡坏掉了一个", "昨天直播间的主持人叫什么", "我的电话13800138000打不通"]
RULES = "rules: [{rule_id: thanks, when: {exact: [谢谢]}, reply: {text: 不客气。}}]"


async def test_what_is_mined_and_accepted_is_answered_by_the_running_service(desk, tmp_path, eventually):
    conf, kept = tmp_path / "conf", tmp_path / "mined.json"
    in_force = await desk.configure(conf, {**COMMON, "rules": RULES})
    await eventually(lambda: now_us() > in_force, "in force")
    asked = [*INVOICE, *COURIER, *ONE_OFFS, "谢谢"]
    async with desk.running("autoreply") as autoreply, desk.running("archive") as archive:
        at = now_us()
        await desk.send(said(f"c-{n}", at, f"m-{n}", text) for n, text in enumerate(asked))
        await eventually(lambda: desk.has_told(REPLIES, len(asked)), "decided", PATIENCE_S)
        answer = "在订单页点“开发票”即可，联系人13912345678"
        await desk.send(wrote(f"c-{n}", now_us(), f"s-{n}", text=answer) for n in range(len(INVOICE)))
        await eventually(caught_up(autoreply, archive), "caught up", PATIENCE_S)

        printed = await desk.command("faq", "mine", "--week", "--shop", SHOP, "--file", str(kept))
        found = json.loads(kept.read_text(encoding="utf-8"))
        assert found["unanswered"] == len(asked) - 1  # all but the thanks, which a rule answers
        place, mined = next((n, one) for n, one in enumerate(found["questions"], 1) if one["examples"][0] in INVOICE)
        assert f"{place}. asked {mined['count']} times" in printed
        assert set(mined["examples"]) <= set(INVOICE)
        assert mined["customers"] >= 3
        assert not any(text in json.dumps(found, ensure_ascii=False) for text in (*ONE_OFFS, "13912345678", "谢谢"))

        # Whoever is to be erased is in no look at what was written, from then on.
        connection = await connect(desk.settings, "archive")
        try:
            person = f"u-c-{asked.index(COURIER[0])}"
            await order(connection, desk.settings.topic_prefix, person, who="data protection", why="letter")
        finally:
            await connection.close()
        await desk.command("faq", "mine", "--week", "--shop", SHOP, "--file", str(tmp_path / "after.json"))
        after = json.loads((tmp_path / "after.json").read_text(encoding="utf-8"))
        assert after["unanswered"] == found["unanswered"] - 1
        assert COURIER[0] in json.dumps(found, ensure_ascii=False)
        assert COURIER[0] not in json.dumps(after, ensure_ascii=False)

        printed = await desk.command("faq", "accept", str(place), "--yes", "--config", str(conf), "--file", str(kept))
        entry = mined["entry"]["entry_id"]
        assert f"entry {entry}" in printed
        assert entry in (conf / SHOP / "knowledge.yaml").read_text(encoding="utf-8")
        # The same process, without a restart.
        await asyncio.sleep(1.5)
        await desk.send(
            [said("new", now_us(), "new", "请问怎么开发票"), said("other", now_us(), "other", "附近有停车场么")]
        )
        await eventually(lambda: desk.has_told(REPLIES, len(asked) + 2), "decided", PATIENCE_S)
    told = {out.value["subject"]: out for out in await desk.told(REPLIES) if out.value["subject"] in {"new", "other"}}
    assert told["other"].value["type"] == "handover.requested.v1", "silent rather than beside the question"
    assert told["new"].value["type"] == "reply.issued.v1"
    assert told["new"].data["entry_id"] == entry
    assert told["new"].data["text"] == "在订单页点“开发票”即可，联系人139******78"


# --- replay ---------------------------------------------------------------------------------------------------------------

LIVE = """
rules:
  - {rule_id: shipping, when: {any_of: [发货]}, reply: {text: 48 小时内发货。}}
  - {rule_id: invoice, when: {any_of: [发票]}, reply: {text: 订单页开发票。}}
  - {rule_id: human, when: {any_of: [转人工]}, handover: {reason: asked_for_human}}
"""
CANDIDATE = """
rules:
  - {rule_id: shipping, when: {any_of: [发货]}, reply: {text: 24 小时内发货。}}
  - {rule_id: size, when: {any_of: [尺码]}, reply: {text: 请看尺码表。}}
  - {rule_id: human, when: {any_of: [转人工]}, handover: {reason: asked_for_human}}
"""
TEXTS = {"发货了吗": "changed", "什么时候发货": "changed", "怎么开发票": "lost", "有尺码表吗": "gained", "尺码怎么选": "gained",
         "转人工": "unanswered", "随便": "unanswered"}  # fmt: skip


async def test_a_replay_of_the_live_log_says_what_candidates_gain_lose_and_change(desk, tmp_path, eventually):
    live, candidate, file = tmp_path / "live", tmp_path / "candidate", tmp_path / "replay.json"
    in_force = await desk.configure(live, {**COMMON, "rules": LIVE})
    (candidate / "_default").mkdir(parents=True)
    (candidate / "_default" / "rules.yaml").write_text(CANDIDATE, encoding="utf-8")
    await eventually(lambda: now_us() > in_force, "in force")
    async with desk.running("autoreply") as autoreply, desk.running("archive") as archive:
        records = [said(f"c-{n}", now_us(), f"m-{n}", text) for n, text in enumerate(TEXTS)]
        # A conversation of some turns: an agent takes it, and what follows is his.
        records += [said("long", now_us(), "l-1", "转人工"), wrote("long", now_us() + 1, "l-2"),
                    said("long", now_us() + 2, "l-3", "发货"), gateway("conversation.closed.v1", "long", now_us() + 3, "l-4", resolved=True),
                    said("long", now_us() + 4, "l-5", "怎么开发票")]  # fmt: skip
        await desk.send(records)
        await eventually(lambda: desk.has_told(REPLIES, len(TEXTS) + 3), "decided", PATIENCE_S)
        await eventually(caught_up(autoreply, archive), "caught up", PATIENCE_S)
        options = ["rules", "replay", "--since", "1h", "--shop", SHOP]
        printed = await desk.command(*options, "--config", str(live))
        assert "0 answers gained, 0 lost, 0 changed, 4 the same" in printed
        printed = await desk.command(*options, "--config", str(candidate), "--json", str(file), exit_code=3)
    assert "2 answers gained, 2 lost, 2 changed, 0 the same, 4 left to people both times" in printed
    assert "怎么开发票" not in printed, "customers' words only where they are asked for"
    body = json.loads(file.read_text(encoding="utf-8"))
    expected = {(f"c-{n}", f"m-{n}"): verdict for n, verdict in enumerate(TEXTS.values()) if verdict != "unanswered"}
    expected["long", "l-5"] = "lost"
    assert {(one["conversation"], one["message_id"]): one["verdict"] for one in body["messages"]} == expected
    assert body["handovers"]["no_match"] == {"was": 3, "now": 3}


# --- the report, against a recount of the log -----------------------------------------------------------------------------

COUNTED = """
rules:
  - {rule_id: complaint, priority: 900, when: {any_of: [投诉]}, handover: {reason: complaint, flags: [by-complaint]}}
  - {rule_id: quiet, priority: 800, when: {exact: [嗯]}, silent: true}
  - rule_id: gift
    when: {any_of: [礼物]}
    reply: {variants: [{variant: a, text: 礼物甲。}, {variant: b, text: 礼物乙。, weight: 2}]}
  - {rule_id: invoice, when: {any_of: [发票]}, reply: {kind: faq, text: 订单页开发票。, entry_id: e-invoice}}
fallback: {flags: [by-fallback]}
"""
VARIANTS = {"礼物甲。": "a", "礼物乙。": "b"}


def talks(count, at):
    """Conversations of some turns each, no two alike: (records, in order)."""
    texts = ["有礼物吗", "怎么开发票", "别的", "嗯", "我要投诉"]
    records = []
    for n in range(count):
        subject, clock = f"t-{n}", at + n
        for turn in range(1 + n % 4):
            text = texts[(n * 3 + turn * (1 + n % 2)) % len(texts)]
            records.append(said(subject, clock, f"{subject}-{turn}", text, customer=customer(n % 17, subject)))
            clock += SECOND
        if n % 3 == 0:
            records.append(gateway("conversation.closed.v1", subject, clock, f"{subject}-end", resolved=True))
            records.append(gateway("conversation.rated.v1", subject, clock + 1, f"{subject}-score", score=1 + n % 5))
        if n % 6 == 0:
            records.append(
                said(subject, clock + 2 * SECOND, f"{subject}-again", texts[n % 5], customer=customer(n % 17, subject))
            )
        if n % 12 == 0:
            records.append(gateway("conversation.rated.v1", subject, clock + 3 * SECOND, f"{subject}-more", score=5))
    return records


def recounted(outs, events):
    """(kind, id, variant) → counts, from what stands on the topics and nothing else."""
    outcome = {}
    for out in outs:
        key = out.value["subject"], out.data.get("in_reply_to") or out.data["message_id"]
        outcome.setdefault(key, []).append(out)
    rows = defaultdict(
        lambda: {"answered": 0, "handed_over": 0, "silenced": 0, "followed": 0, "rated": 0, "score": 0, "last": 0}
    )
    for subject, log in events.items():
        answerers = {}  # who answered in this conversation -> [asked for a person since, rated]
        closed = False
        for event in log:
            if event.type == "conversation.closed.v1":
                closed = True
            elif event.type == "conversation.rated.v1":
                for row, state in answerers.items():
                    if not state[1]:
                        state[1] = True
                        rows[row]["rated"] += 1
                        rows[row]["score"] += event.data.score
            else:
                if closed:
                    answerers, closed = {}, False  # a new conversation
                for out in outcome[subject, event.data.message_id]:
                    _count(rows, answerers, out, event.at)
    return dict(rows)


def _count(rows, answerers, out, at):
    data = out.data
    match out.value["type"]:
        case "reply.issued.v1":
            speakers = [("rule", data["rule_id"], VARIANTS.get(data["text"], ""))]
            speakers += [("entry", data["entry_id"], "")] if "entry_id" in data else []
            for row in speakers:
                rows[row]["answered"] += 1
                rows[row]["last"] = max(rows[row]["last"], at)
                answerers.setdefault(row, [False, False])
        case "handover.requested.v1":
            for row, state in answerers.items():
                if not state[0]:
                    state[0] = True
                    rows[row]["followed"] += 1
            decider = ("rule", "complaint", "") if "by-complaint" in data["flags"] else ("fallback", "", "")
            if data["reason"] == "repeated_question" and "by-fallback" not in data["flags"]:
                decider = ("rule", "complaint", "")
            rows[decider]["handed_over"] += 1
            rows[decider]["last"] = max(rows[decider]["last"], at)
        case "message.ignored.v1" if "rule_id" in data:
            row = ("rule", data["rule_id"], "")
            rows[row]["silenced"] += 1
            rows[row]["last"] = max(rows[row]["last"], at)


async def test_the_report_counts_what_the_log_says(desk, tmp_path, eventually):
    in_force = await desk.configure(tmp_path, {**COMMON, "rules": COUNTED})
    await eventually(lambda: now_us() > in_force, "in force")
    records = talks(60, now_us())
    async with desk.running("autoreply") as autoreply:
        await desk.send(records)
        await eventually(caught_up(autoreply), "caught up", PATIENCE_S)
    outs = [out for out in await desk.told(REPLIES) if out.value["type"] != "message.flagged.v1"]
    expected = recounted(outs, await desk.events(CONVERSATIONS))
    printed = await desk.command("rules", "report", "--shop", SHOP, "--since", "1d", "--variants", "--json")
    found = {(row["kind"], row["id"], row["variant"]): row for row in json.loads(printed)}
    assert found.keys() == expected.keys()
    for key, counts in expected.items():
        row = found[key]
        assert row["hits"] == counts["answered"] + counts["handed_over"] + counts["silenced"], key
        names = ("answered", "handed_over", "followed", "rated")
        assert [row[name] for name in names] == [counts[name] for name in names], key
        assert row["satisfaction"] == (round(counts["score"] / counts["rated"], 2) if counts["rated"] else None), key
        assert row["last_hit"] == rfc3339(counts["last"]), key
    # What is compared is there: both variants, each with answers, people asked for afterwards, and ratings.
    for variant in "ab":
        row = found["rule", "gift", variant]
        assert row["answered"] > 1
        assert row["followed"] > 0
        assert row["rated"] > 0
    assert found["rule", "quiet", ""]["hits"] > 0
    # Without --variants they are one row.
    rows = json.loads(await desk.command("rules", "report", "--shop", SHOP, "--json"))
    (gift,) = [row for row in rows if row["id"] == "gift"]
    assert gift["answered"] == sum(found["rule", "gift", variant]["answered"] for variant in "ab")
