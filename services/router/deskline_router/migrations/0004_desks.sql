-- What people at their desktops have ordered: written by the instance that was asked, decided by the one that owns the conversation's
-- lane (``lane`` NULL: about no conversation, decided by any), in the transaction of its unit. Times in microseconds since 1970.
CREATE TABLE actions (
    seq bigserial PRIMARY KEY,
    action_id text NOT NULL UNIQUE,
    lane integer,
    body bytea NOT NULL,
    at bigint NOT NULL,
    decided_at bigint,
    outcome bytea
);
CREATE INDEX actions_undecided ON actions (seq) WHERE decided_at IS NULL;
CREATE INDEX actions_at ON actions (at);

-- [{action_id, kind, actor, ...}, ...] in the order in which they counted, after the unit's timers.
ALTER TABLE decision_log ADD COLUMN actions jsonb NOT NULL DEFAULT '[]';
CREATE OR REPLACE VIEW decisions AS
SELECT seq, now, inputs, timers, watermarks, agents_watermark, agents_fresh, outputs, actions FROM decision_log;

-- When a customer was last heard of or served: what has not been for long is forgotten.
ALTER TABLE customers ADD COLUMN seen_at bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000000)::bigint;
CREATE INDEX customers_seen_at ON customers (seen_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON actions TO {{role}};
GRANT USAGE ON SEQUENCE actions_seq_seq TO {{role}};
