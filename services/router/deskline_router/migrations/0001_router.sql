-- The router's tables. The engine's own (lanes, outbox, conversations) stand beside them in the same schema.

-- One row: the lock that serialises everything decided about requests and agents, over all instances. ``version`` counts
-- the units of work that changed something. ``agent_offsets``: how far agents.v1 is applied, by partition.
-- ``purged``: ended requests up to this version may be gone; a mirror older than that is read anew.
CREATE TABLE core (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL DEFAULT 0,
    purged bigint NOT NULL DEFAULT 0,
    agent_offsets bigint[] NOT NULL DEFAULT '{}'
);
INSERT INTO core DEFAULT VALUES;

CREATE TABLE agents (
    agent_id text PRIMARY KEY,
    version bigint NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX agents_version ON agents (version);

-- The open request of a conversation, or its last one: the key is the invariant "at most one open request".
CREATE TABLE requests (
    subject text PRIMARY KEY,
    lane integer NOT NULL,
    version bigint NOT NULL,
    ended boolean NOT NULL,
    due bigint,
    body bytea NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX requests_version ON requests (version);
CREATE INDEX requests_due ON requests (lane, due) WHERE due IS NOT NULL;

-- Conversations that an agent owns without an assignment: whom they fall back to when he stays away.
CREATE TABLE owners (
    lane integer NOT NULL,
    subject text NOT NULL,
    agent_id text NOT NULL,
    shop_id text NOT NULL,
    PRIMARY KEY (lane, subject)
);

CREATE TABLE decision_log (
    seq bigint PRIMARY KEY,
    now bigint NOT NULL,
    inputs jsonb NOT NULL,
    timers jsonb NOT NULL,
    watermarks jsonb NOT NULL,
    agents_watermark bigint NOT NULL,
    agents_fresh boolean NOT NULL,
    outputs text[] NOT NULL
);
CREATE INDEX decision_log_now ON decision_log (now);

-- One row a batch that decided something, in the order of the decisions. Times in microseconds since 1970.
--   inputs:     [[topic, partition, from, to], ...] in the order in which they counted; ``to`` is the next offset.
--               Records of a lane between two rows decided nothing by themselves and are read before the later row.
--   timers:     [[conversation, lane], ...] that fired, in order
--   watermarks: {lane: watermark}
--   outputs:    ids of the events on routing.v1, in order
CREATE VIEW decisions AS
SELECT seq, now, inputs, timers, watermarks, agents_watermark, agents_fresh, outputs FROM decision_log;

GRANT SELECT, UPDATE ON core TO {{role}};
GRANT SELECT, INSERT, UPDATE ON agents TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON requests TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON owners TO {{role}};
GRANT SELECT, INSERT, DELETE ON decision_log TO {{role}};
GRANT SELECT ON decisions TO {{role}};
