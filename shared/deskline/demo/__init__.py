"""``deskline demo``: recorded support conversations replayed through the whole stack, by people who are played.

The stack is the real one (``deskline.stack``): Kafka, PostgreSQL and the four services, in a directory of its own. The
demo is the gateway in front of it, and nothing else: it publishes what customers and agents do (``/gateway/demo``) and
hears ``replies.v1`` and ``routing.v1``, as docs/contract.md says of a gateway.

* ``recorded``, ``readers``, ``irc``: files to conversations.
* ``shops``: the configuration that is shipped, with its durations divided by the speed and shops that never close, so
  that the demo looks the same at any hour; beside them one shop that is closed.
* ``play``, ``talks``, ``people``, ``gateway``: who says what when. ``Play`` is told the time and what was heard, and
  gives the records to publish: no clock, no I/O, chance from a seed.
* ``live``, ``tally``: follows every topic and counts for the board (``board``, ``lines``, ``words``).
* ``recount``: reads the same topics from their beginnings once all is done, with code of its own (plain JSON, nothing
  of ``deskline.events``), and the archive beside them. ``figures`` compares; any difference is exit code 1.
* ``run``, ``cli``: the order of things.
"""
