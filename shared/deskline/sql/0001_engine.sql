-- Tables of the consumption engine, the same in every service's schema (search_path is that schema).

-- A lane is what one owner consumes in order: partition p of all the co-partitioned topics, or one topic partition.
-- version is the fence: a unit of work begins with UPDATE … WHERE version = what the owner last saw.
CREATE TABLE lanes (
    lane text PRIMARY KEY,
    version bigint NOT NULL,
    topics text[] NOT NULL,
    offsets bigint[] NOT NULL,
    CHECK (cardinality(topics) = cardinality(offsets))
) WITH (fillfactor = 50);

-- What a committed unit still has to publish, one row per lane and unit. seq is drawn while the lane (router: its core
-- row) is locked, so its order is the order of commits.
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane text NOT NULL,
    payload bytea NOT NULL
);
CREATE INDEX outbox_lane ON outbox (lane, seq);

-- State of a conversation; due is its next timer, µs since the epoch.
CREATE TABLE conversations (
    lane integer NOT NULL,
    subject text NOT NULL,
    due bigint,
    body bytea NOT NULL,
    PRIMARY KEY (lane, subject)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE conversations ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX conversations_due ON conversations (lane, due) WHERE due IS NOT NULL;

GRANT SELECT, INSERT, UPDATE ON lanes TO {{role}};
GRANT SELECT, INSERT, DELETE ON outbox TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON conversations TO {{role}};
