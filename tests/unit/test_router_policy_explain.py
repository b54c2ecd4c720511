"""``deskline policy explain``: whatever decides stands in the sentences, in both languages."""

import pytest
from tests.unit.router_driver import agent
from typer.testing import CliRunner

from deskline.config.documents import RoutingCondition, RoutingDocument, RoutingPolicy, RoutingRule, Step, TierRule
from deskline.config.routing_document import (
    DEFAULT_STEPS,
    Calling,
    Choice,
    Complaints,
    Night,
    Notices,
    Order,
    Qualification,
    SlaAction,
    SlaActions,
    Surge,
    Threshold,
    Trainees,
    Turns,
)
from deskline_router.policy_cli import app
from deskline_router.sentences import policy_sentences

TEAM = {name: agent(name) for name in ("anna", "bo", "carl", "dora")}


def text(policy, language="en", qualifications=()):
    return "\n".join(policy_sentences(policy, TEAM, language, qualifications))


def rule(*steps, **fields):
    return RoutingDocument(rules=(RoutingRule(rule_id="r", steps=(*steps, Step()), **fields),))


SURGE = Surge(enter=Threshold(queue=5, wait_s=90), leave=Threshold(queue=2, wait_s=30))
BASE = rule(Step(wait_s=20))
CHANGES = {
    "mode": BASE.model_copy(update={"mode": "offered"}),
    "accept_s": BASE.model_copy(update={"mode": "offered", "accept_s": 33}),
    "pause_after_missed": BASE.model_copy(update={"mode": "offered", "pause_after_missed": 7}),
    "tiers": BASE.model_copy(update={"tiers": (TierRule(tier="gold", min_orders=9),)}),
    "tier complaints": BASE.model_copy(update={"tiers": (TierRule(tier="gold", min_complaints=2),)}),
    "tier rest": BASE.model_copy(update={"tiers": (TierRule(tier="gold"),)}),
    "priority": rule(Step(wait_s=20), priority=70),
    "own_agent": rule(Step(wait_s=20, own_agent=True)),
    "keep_skills": rule(Step(wait_s=20, keep_skills=False)),
    "proficiency": rule(Step(wait_s=20, proficiency=4)),
    "skills": rule(Step(wait_s=20, skills={"tax": 2})),
    "grades": rule(Step(wait_s=20, grades=("senior",))),
    "groups": rule(Step(wait_s=20, groups=("g",))),
    "language": rule(Step(wait_s=20, language=True)),
    "wait_s": rule(Step(wait_s=21)),
    "sla_share": rule(Step(wait_s=20, sla_share=0.5)),
    "sla_share alone": rule(Step(sla_share=0.5)),
    "share": rule(Step(wait_s=20, share=0.25)),
    "hand_up_s": rule(Step(wait_s=20, hand_up_s=600)),
    "order": BASE.model_copy(update={"order": Order(by="priority")}),
    "order arrival": BASE.model_copy(update={"order": Order(by="arrival")}),
    "weights": BASE.model_copy(update={"order": Order(tier_weights={"gold": 9})}),
    "growth": BASE.model_copy(update={"order": Order(growth=2)}),
    "handling": BASE.model_copy(update={"order": Order(handling_s={"tax": 90})}),
    "choice": BASE.model_copy(update={"choice": Choice(surplus=0)}),
    "turns": BASE.model_copy(update={"turns": Turns(customer=0.25)}),
    "trainees": BASE.model_copy(update={"trainees": Trainees(never_tiers=("gold",), never_flags=())}),
    "complaints": BASE.model_copy(update={"complaints": Complaints()}),
    "take_back": BASE.model_copy(update={"complaints": Complaints(take_back=False)}),
    "sla_actions": BASE.model_copy(update={"sla_actions": SlaActions(supervisors=("senior", "supervisor"))}),
    "sla raise_by": BASE.model_copy(update={"sla_actions": SlaActions(remind=SlaAction(raise_by=5))}),
    "sla flags": BASE.model_copy(update={"sla_actions": SlaActions(remind=SlaAction(flags=("late",)))}),
    "sla waiting": BASE.model_copy(update={"sla_actions": SlaActions(call_supervisor=Calling(waiting="keep"))}),
    "sla step": BASE.model_copy(update={"sla_actions": SlaActions(call_supervisor=Calling(waiting="supervisor_step"))}),
    "sla held": BASE.model_copy(update={"sla_actions": SlaActions(call_supervisor=Calling(held="keep"))}),
    "sla anybody": BASE.model_copy(update={"sla_actions": SlaActions(call_supervisor=Calling(held="anybody"))}),
    "night": BASE.model_copy(update={"night": Night(off_hours="serve")}),
    "gather": BASE.model_copy(update={"night": Night(gather_s=0)}),
    "notices": BASE.model_copy(update={"notices": Notices(position_every_s=None)}),
    "notices rate": BASE.model_copy(update={"notices": Notices(most_per_s=3)}),
    "surge": BASE.model_copy(update={"surge": SURGE}),
    "reserve_share": BASE.model_copy(update={"surge": SURGE.model_copy(update={"reserve_share": 0.5})}),
    "capacity_added": BASE.model_copy(update={"surge": SURGE.model_copy(update={"capacity_added": 2})}),
    "capacity_limit": BASE.model_copy(
        update={"surge": SURGE.model_copy(update={"capacity_added": 2, "capacity_limit": 9})}
    ),
    "calm": BASE.model_copy(update={"surge": SURGE.model_copy(update={"calm_s": 5})}),
    "candidate": BASE.model_copy(update={"candidate": RoutingPolicy()}),
} | {
    f"when {name}": rule(Step(wait_s=20), when=RoutingCondition(**{name: values}))
    for name, values in {
        "tiers": ("gold",),
        "skills": ("tax",),
        "entry_points": ("home",),
        "channels": ("phone",),
        "languages": ("en",),
        "flags": ("complaint",),
        "causes": ("transfer",),
        "hours": ("22:00-06:00",),
    }.items()
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_setting_that_decides_changes_the_sentences(language):
    said = {name: text(policy, language) for name, policy in CHANGES.items()} | {"": text(BASE, language)}
    assert len(set(said.values())) == len(said)
    for words in said.values():
        assert "{" not in words


def test_every_field_of_the_document_is_among_those_tried():
    for model in (Step, RoutingCondition, RoutingPolicy, Surge):
        for name in model.model_fields:
            tried = {"enter": "surge", "leave": "surge", "calm_s": "calm", "rules": "wait_s"}.get(name, name)
            assert tried in CHANGES or f"when {name}" in CHANGES, name


def test_a_policy_reads_as_one_would_say_it():
    policy = rule(
        Step(own_agent=True, wait_s=30, sla_share=0.25),
        Step(grades=("senior", "supervisor"), proficiency=3, wait_s=60),
        when=RoutingCondition(tiers=("vip", "high_spend")),
        priority=80,
    )
    assert policy_sentences(policy, TEAM, "en")[1:5] == [
        "Rule r, for customers of the tier vip or high_spend, at a priority of 80 at least:",
        (
            "  1. The customer's own agent, or who had him last with what is asked for, for 30 s or 25 % of the SLA time left, "
            "whichever is sooner; skipped where there is nobody like that here."
        ),
        "  2. Only senior agents or supervisors with what is asked for at a proficiency of 3 at least, for 1 min.",
        "  3. Anybody with what is asked for, until somebody is found.",
    ]
    assert policy_sentences(policy, TEAM, "zh")[1] == "规则 r（等级为vip或high_spend的顾客），优先级至少 80："


def test_surge_and_qualifications_say_who_and_what():
    said = text(
        BASE.model_copy(update={"surge": SURGE}),
        qualifications=(Qualification(certifications=("refund-1",), training_hours={"tax": 40}, grade="senior"),),
    )
    assert "A surge begins at 5 requests waiting or a wait of 90 s. Then the reserve (dora) is called." in said
    assert "Who has the certificate refund-1 and 40 hours of tax has at least the grade senior." in said


@pytest.mark.parametrize(("shop", "code"), [("wardrobe", 0), ("_default", 0), ("nobody", 1)])
def test_the_command_reads_a_directory(shop, code):
    result = CliRunner().invoke(app, ["explain", shop, "--config", "examples/config", "--lang", "zh"])
    assert result.exit_code == code
    if not code:
        assert "规则" in result.output


def test_what_no_rule_fits_gives_up_skills_late_and_says_so():
    policy = RoutingDocument(
        rules=(RoutingRule(rule_id="vip", when=RoutingCondition(tiers=("vip",)), steps=(Step(),)),)
    )
    assert RoutingDocument().rules[0].steps == DEFAULT_STEPS
    assert (DEFAULT_STEPS[0].wait_s, DEFAULT_STEPS[0].keep_skills, DEFAULT_STEPS[1].keep_skills) == (120, True, False)
    for language, said in (
        ("en", "What no rule fits waits 2 min for somebody with the skills, then for anybody."),
        ("zh", "没有规则符合时：先等有技能的人，最多 2 分钟，再找任何人。"),
    ):
        assert said in policy_sentences(policy, {}, language)
        assert said not in policy_sentences(RoutingDocument(), {}, language)
