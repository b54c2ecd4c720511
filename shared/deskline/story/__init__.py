"""``deskline explain``: what happened in one conversation, from the records of all services, in order, as sentences."""
