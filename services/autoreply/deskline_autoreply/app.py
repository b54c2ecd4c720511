"""The composition root: autoreply's decisions on the engine. Importing it has no effect."""

import asyncio

from deskline.config.rules_document import RulesDocument
from deskline.config.scenario_sets import with_scenarios
from deskline.conversations import ConversationConsumer
from deskline.retention import pruning
from deskline.service import Runtime
from deskline_autoreply.achievements_store import Hits, Rest, Rests
from deskline_autoreply.handler import Autoreply, State
from deskline_autoreply.knowledge.desk import routes
from deskline_autoreply.knowledge.lookups import Lookups
from deskline_autoreply.knowledge.preparing import Preparation, warm
from deskline_autoreply.metrics import Metrics
from deskline_autoreply.policy.achievements import Hit
from deskline_autoreply.policy.shadow import ShadowDecision
from deskline_autoreply.shadow_store import ShadowDecisions


async def build(runtime: Runtime) -> ConversationConsumer[State]:
    # Before it joins the group: who takes a partition answers at once.
    await asyncio.to_thread(warm)
    metrics = Metrics(runtime.registry)
    autoreply = Autoreply(runtime.config, metrics.count, metrics.count_other_shop, metrics.delayed)
    lookups = Lookups(runtime.settings)
    runtime.background.append(lookups.run)
    token = runtime.settings.desktop_token
    runtime.routes += routes(autoreply.versions, lookups, token, lambda: runtime.config.ready)
    preparation = Preparation(runtime.settings, autoreply.versions)

    async def prepare(document: RulesDocument) -> None:
        metrics.foresee(with_scenarios(document).rules)
        await preparation.prepare(document)

    runtime.prepare_rules = prepare
    runtime.background.append(pruning(runtime.settings, "autoreply", "shadow_decisions", "at"))
    runtime.background.append(pruning(runtime.settings, "autoreply", "cooldowns", "until"))
    return ConversationConsumer(
        autoreply,
        runtime.config,
        effects={ShadowDecision: ShadowDecisions(metrics.count_shadow), Hit: Hits(), Rest: Rests()},
    )
