-- What the shop's candidate policy would have chosen, decision by decision, on the snapshot of the live one and in its
-- transaction. ``at``: the decision's time, µs since 1970. attempt 0: the request came and had to wait.
--   agreement: same | other_agent | waits (the candidate admits nobody yet) | earlier (attempt 0: it would have taken agent_id)
CREATE TABLE shadow_decisions (
    request_id text NOT NULL,
    attempt integer NOT NULL,
    subject text NOT NULL,
    shop_id text NOT NULL,
    policy_version bigint NOT NULL,
    at bigint NOT NULL,
    live_agent_id text,
    live_rule_id text NOT NULL,
    live_step integer NOT NULL,
    live_priority integer NOT NULL,
    agent_id text,
    rule_id text NOT NULL,
    step integer NOT NULL,
    priority integer NOT NULL,
    agreement text NOT NULL,
    PRIMARY KEY (request_id, attempt)
);
CREATE INDEX shadow_decisions_at ON shadow_decisions (at);
CREATE INDEX shadow_decisions_shop ON shadow_decisions (shop_id, at);

GRANT SELECT, INSERT, DELETE ON shadow_decisions TO {{role}};
