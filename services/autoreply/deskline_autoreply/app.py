"""The composition root: autoreply's decisions on the engine. Importing it has no effect."""

from deskline.conversations import ConversationConsumer
from deskline.service import Runtime
from deskline_autoreply.handler import Autoreply, State
from deskline_autoreply.metrics import Metrics


def build(runtime: Runtime) -> ConversationConsumer[State]:
    return ConversationConsumer(Autoreply(runtime.config, Metrics(runtime.registry).count), runtime.config)
