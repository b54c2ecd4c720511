"""The embedded stack: Apache Kafka and PostgreSQL from wheels, and the services under supervision.

Theory of operation. Everything lives in one *state directory*; nothing is kept elsewhere but the Kafka jars, which
stay in the Maven cache that every tool of this machine shares. A server process is known by a *pid file* that holds
its pid and its start instant, so that a recycled pid is never mistaken for ours and nothing is ever ended by name.
The servers (``kafka``, ``postgres``) are plain blocking objects: ``prepare`` (slow, once), ``spawn`` (instant),
``wait_ready``, ``stop``; ``start`` is the three together. They outlive a killed supervisor on purpose: the next
``deskline up`` takes them over, their data being whole. The services (``supervisor``) die with their supervisor,
because a service nobody watches would hold partitions that the next one needs.
"""
