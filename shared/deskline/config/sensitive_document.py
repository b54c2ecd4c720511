"""Words that are flagged, masked or blocked. A part of the document ``rules``; usually in ``sensitive.yaml``."""

from deskline.config.base import Document


class Sensitive(Document):
    """Words that are flagged, masked or blocked."""
