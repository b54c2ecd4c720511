-- What a shop's decisions depend on beside its agents and requests: surge, arrivals, shares, entries into service.
CREATE TABLE shops (
    shop_id text PRIMARY KEY,
    version bigint NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX shops_version ON shops (version);

-- What is recorded of a shop's customers, over all their conversations: the newest statement of each fact, complaints, and
-- who had a conversation of theirs last. Changed under the lock on ``core`` alone.
CREATE TABLE customers (
    shop_id text NOT NULL,
    customer_id text NOT NULL,
    facts bytea NOT NULL,
    complaints integer NOT NULL DEFAULT 0,
    last_agent text,
    last_agent_at bigint,
    PRIMARY KEY (shop_id, customer_id)
);

GRANT SELECT, INSERT, UPDATE ON shops TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO {{role}};
