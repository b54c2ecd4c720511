"""A shop's rules, compiled once per version: which rules match a message, in the order in which they are asked.

``finding`` finds words, ``conditions`` says what a rule needs, ``compiled`` puts them together, ``saying`` makes the text.
"""

from deskline_autoreply.policy.rules.compiled import Compiled
from deskline_autoreply.policy.rules.conditions import Asked, Moment

__all__ = ["Asked", "Compiled", "Moment"]
