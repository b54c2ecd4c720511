"""Two cells side by side on one broker and one server: topics, groups and a database each; one rule of the gateway decides."""

import asyncio

import pytest
from tests.fixtures.deployment import Deployment, caught_up, gateway, said

from deskline.clock import now_us
from deskline.postgres import connect
from deskline.records import REPLIES, ROUTING

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PATIENCE_S = 60
RULES = "rules: [{rule_id: shipping, when: {any_of: [发货]}, reply: {kind: faq, text: %s}}]"
SHOPS = {"tea": 0, "silk": 0, "books": 1}
"""The gateway's rule: a shop's cell. Everything about a conversation goes where its shop is."""


def documents(agent, text):
    return {
        "rules": RULES % text,
        "agents": f"agents: [{{agent_id: {agent}, capacity: 9}}]",
        "limits": "patience_s: 600\n",
    }


async def test_two_cells_answer_and_assign_their_own_shops_and_nothing_crosses(
    topics, another_cell, tmp_path, eventually
):
    cells = [Deployment(topics, 4), Deployment(another_cell, 4)]
    people = ("anna", "bo")
    in_force = [
        await cell.configure(tmp_path / str(number), documents(people[number], text))
        for number, (cell, text) in enumerate(zip(cells, ("甲", "乙"), strict=True))
    ]
    await eventually(lambda: now_us() > max(in_force), "in force")
    one, two = cells
    async with (
        one.running("autoreply") as reply_1, one.running("router") as router_1,
        two.running("autoreply") as reply_2, two.running("router") as router_2,
    ):  # fmt: skip
        at = now_us()
        sent: list[list[tuple[str, bytes]]] = [[], []]
        for number, agent in enumerate(people):
            # Who works in the one cell is heard of in the other as well, where nobody knows him: he gets nothing there.
            event = gateway("agent.status_changed.v1", agent, at, f"s-{number}", agent_id=agent, status="online")
            for records in sent:
                records.append(event)
        for shop, cell in SHOPS.items():
            # Cells need not agree about names: each shop has a conversation c-1.
            subject = "c-1" if shop != "silk" else "c-2"
            sent[cell] += [
                said(subject, at, f"m-1-{shop}", "什么时候发货", shop_id=shop),
                said(subject, at + 1, f"m-2-{shop}", "随便问问", shop_id=shop),
            ]
        await asyncio.gather(*(cell.send(records) for cell, records in zip(cells, sent, strict=True)))
        await eventually(lambda: one.has_told(REPLIES, 4), "both shops of the first cell", PATIENCE_S)
        await eventually(lambda: two.has_told(REPLIES, 2), "the shop of the second", PATIENCE_S)
        await eventually(lambda: one.has_told(ROUTING, 4), "assigned", PATIENCE_S)
        await eventually(lambda: two.has_told(ROUTING, 2), "assigned", PATIENCE_S)
        await eventually(caught_up(reply_1, reply_2, router_1, router_2), "caught up", PATIENCE_S)
    for number, (cell, text, agent) in enumerate(zip(cells, ("甲", "乙"), people, strict=True)):
        replies, routing = await cell.told(REPLIES), await cell.told(ROUTING)
        shops = {shop for shop, of in SHOPS.items() if of == number}
        assert {out.data["shop_id"] for out in (*replies, *routing)} == shops
        assert {out.data["text"] for out in replies if "text" in out.data} == {text}
        assert {out.data["agent_id"] for out in routing if "agent_id" in out.data} == {agent}
        connection = await connect(cell.settings, "router")
        try:
            assert await connection.fetchval("SELECT count(*) FROM requests") == len(shops)
        finally:
            await connection.close()
