"""The composition root: autoreply's decisions on the engine. Importing it has no effect."""

from deskline.conversations import ConversationConsumer
from deskline.service import Runtime
from deskline_autoreply.handler import Autoreply, State
from deskline_autoreply.metrics import Metrics


def build(runtime: Runtime) -> ConversationConsumer[State]:
    metrics = Metrics(runtime.registry)
    autoreply = Autoreply(runtime.config, metrics.count, metrics.count_other_shop)
    return ConversationConsumer(autoreply, runtime.config)
