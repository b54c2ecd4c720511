"""What the shop knows: entries that answer questions for which there is no rule. A part of the document ``rules``; usually in ``knowledge.yaml``."""

from deskline.config.base import Document


class Knowledge(Document):
    """What the shop knows: entries that answer questions for which there is no rule."""
