"""The pure core of autoreply: facts in, decision out. No I/O, no clock, no logging.

``rules``: what the shop wants said. ``history``: what conversations.v1 said of one conversation. ``requests``: what routing.v1
said. ``standing``: what follows from both about a message. ``border``: the decision.
"""
