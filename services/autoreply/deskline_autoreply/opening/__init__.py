"""Bringing a new shop on line: its first configuration from a few answers, and what is still missing before it answers customers.

``plan`` (what the four steps ask, and the files that follow from it) and ``checking`` (what is missing) are pure; ``files`` writes,
``evidence`` reads what was tried, ``load`` plays customers on a stack of rehearsals, ``shop_cli`` is ``deskline shop``.
"""
