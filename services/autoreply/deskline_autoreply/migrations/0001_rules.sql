-- What rules and entries achieved, counted per day by the unit of work that decided, in its own transaction. A lane has one
-- owner at a time, so instances never wait for each other's rows; reports add the lanes up. ``day`` is the UTC date of the
-- event time. ``variant`` is '' where a reply has only one. An unanswered message counts under kind 'fallback', id ''.
--   answered:    replies without a hand-over
--   handed_over: hand-overs that the rule itself asked for, with or without a holding reply
--   silenced:    messages that the rule left unanswered on purpose
--   tagged:      messages that it only tagged
--   followed:    conversations in which a person was asked for after its answer
--   rated, score_sum: ratings of conversations in which it answered
--   last_hit_at: event time of the last message that it decided, µs since 1970
CREATE TABLE hits (
    shop_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('rule', 'entry', 'fallback')),
    id text NOT NULL,
    variant text NOT NULL DEFAULT '',
    day date NOT NULL,
    lane integer NOT NULL,
    answered bigint NOT NULL DEFAULT 0,
    handed_over bigint NOT NULL DEFAULT 0,
    silenced bigint NOT NULL DEFAULT 0,
    tagged bigint NOT NULL DEFAULT 0,
    followed bigint NOT NULL DEFAULT 0,
    rated bigint NOT NULL DEFAULT 0,
    score_sum bigint NOT NULL DEFAULT 0,
    last_hit_at bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (shop_id, kind, id, variant, day, lane)
) WITH (fillfactor = 50);

-- When a rule last answered a customer, over all his conversations of a shop, for rules that have a cooldown. A row is of
-- no use after ``until`` (µs since 1970) and is then removed.
CREATE TABLE cooldowns (
    shop_id text NOT NULL,
    customer_id text NOT NULL,
    rule_id text NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (shop_id, customer_id, rule_id)
) WITH (fillfactor = 80);
CREATE INDEX cooldowns_until ON cooldowns (until);

GRANT SELECT, INSERT, UPDATE, DELETE ON hits TO {{role}};
GRANT SELECT, INSERT, UPDATE, DELETE ON cooldowns TO {{role}};
