"""``/desk``: what the agents' desktop and supervisors see of the router, and what they order.

Looking: ``view`` is a mirror of the router's rows for HTTP alone, brought up to date by version when somebody asks; an instance
without partitions answers like any other, and the mirror that decides is never touched.

Ordering: an action becomes a row (``orders``), and whoever owns the conversation's lane decides it in a unit of work like
everything else, under the same lock, in the decision log, and told on ``routing.v1`` or ``shops.v1`` with its ``actor``. The one
who asked waits for that a moment; where it takes longer he asks again by the action's id. The same ``Idempotency-Key`` of the
same person is the same action.
"""
