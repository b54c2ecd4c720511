"""A reference gateway: what stands between customers, agents and deskline, to learn from and to test with.

HTTP in, WebSocket (or long polls) out, CloudEvents to Kafka. See README.md. By module:

- ``rules``: what the contract asks of a gateway, as pure decisions;
- ``events``: what it publishes, with ids that a retry cannot change;
- ``store``: one SQLite file; everything that must survive a restart, and the only threads;
- ``desk``: what people do, each in one transaction with the events that tell of it;
- ``hearing``: what deskline says, each in one transaction with the position in its topic;
- ``delivery``: what a customer's screen is sent, and what it has confirmed;
- ``kafka``: the outbox to the broker, and the topics from it;
- ``web``: the HTTP and WebSocket surface; ``run``: the process.
"""
