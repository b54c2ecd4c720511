-- What rules in shadow would have done about a message, written by the unit of work that decided it, in its transaction. Texts
-- are the shop's own, as configured: no variable is filled in, so nothing of a customer stands here. ``at``: the message's
-- event time, µs since 1970.
--   tried:   shop, the shop's own rules while the shop was in shadow; candidate, rules beside those in force
--   verdict: of a candidate: same | gained | lost | changed, against live_*
CREATE TABLE shadow_decisions (
    subject text NOT NULL,
    message_id text NOT NULL,
    tried text NOT NULL CHECK (tried IN ('shop', 'candidate')),
    lane integer NOT NULL,
    at bigint NOT NULL,
    shop_id text NOT NULL,
    rules_version bigint NOT NULL,
    verdict text,
    outcome text NOT NULL,
    reason text,
    rule_id text,
    entry_id text,
    kind text,
    confidence double precision,
    text text,
    live_outcome text,
    live_reason text,
    live_rule_id text,
    live_entry_id text,
    live_kind text,
    live_text text,
    PRIMARY KEY (subject, message_id, tried)
);
CREATE INDEX shadow_decisions_at ON shadow_decisions (at);
CREATE INDEX shadow_decisions_shop ON shadow_decisions (shop_id, at);

-- Trials of a shop (`deskline trial`). The trial itself ends by the event times of messages: ``until`` is what the rules say.
-- Times in µs since 1970.
CREATE TABLE trials (
    trial_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id text NOT NULL,
    rules_version bigint NOT NULL,
    started_at bigint NOT NULL,
    until bigint NOT NULL,
    then_what text NOT NULL CHECK (then_what IN ('off', 'live')),
    started_by text NOT NULL,
    stopped_at bigint
);
CREATE INDEX trials_shop ON trials (shop_id, trial_id);

GRANT SELECT, INSERT, DELETE ON shadow_decisions TO {{role}};
GRANT SELECT, INSERT, UPDATE ON trials TO {{role}};
