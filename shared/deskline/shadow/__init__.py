"""Reports on what was tried in shadow, and trials of a new shop.

The services record (``autoreply.shadow_decisions``, ``router.shadow_decisions``, ``sla.shadow_clocks``); here it is read, with
the services' own roles, and counted. A trial is a state of the shop's rules (``shadow``, ``shadow_until``, ``shadow_then``): it
ends by the event times of messages, whatever of this runs. ``store``: the only SQL. ``comparison``, ``trial``: pure. ``pages``:
words, in Chinese and English. ``rendering``: terminal, Markdown, HTML.
"""
