"""The router's policy in virtual time: what would happen, without Kafka and PostgreSQL.

Theory of operation
===================

``engine.run`` is a discrete-event simulation: customers come, wait, lose patience or are served; agents come, serve, and go.
Who serves whom is a ``Desk``'s word. ``desk.PolicyDesk`` is the router itself: each happening becomes the very event that the
service reads, and ``policy.decide`` decides it, so a simulated decision is the service's decision on the same inputs. The
rivals of the benchmark are other desks under the same engine.

===============  ====================================================================================================
``model``        who comes, and how agents work
``traffic``      customers from files, and drawn from a mix
``setting``      a team and a policy from a directory of configuration
``engine``       the event loop and how agents work
``desk``         the port between the two, and the router behind it
``rivals``       longest idle, least loaded, strict priority, round robin
``figures``      what came of it, as numbers; ``pages``, ``plots``: as text, HTML and PNG
``erlang``       how many agents a half hour needs; ``forecast``: of a day, from days before it
``replay``       the decision log, decided again; ``replay_store``: from log and archive
``recorded``     from recorded events to customers whose service is known; ``whatif``: another policy for them
===============  ====================================================================================================

Nothing here reads a clock: randomness comes from a seed, and the same arguments give the same figures.
"""
