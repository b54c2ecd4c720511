-- What becomes of each clock by the policies in force and by the shop's candidate in shadow. One row per clock that started
-- while the shop had a candidate; it is written anew, by the unit of work that decided, whenever either side says something.
-- Times in microseconds since 1970. state: open | met | breached | cancelled; null: no such clock on that side.
CREATE TABLE shadow_clocks (
    clock_id text PRIMARY KEY,
    subject text NOT NULL,
    lane integer NOT NULL,
    shop_id text NOT NULL,
    metric text NOT NULL,
    tier text NOT NULL,
    policy_version bigint NOT NULL,
    complaint_id text NOT NULL,
    started_at bigint NOT NULL,
    live_state text,
    live_policy_id text,
    live_target_s double precision,
    live_due_at bigint,
    live_met_at bigint,
    candidate_state text,
    candidate_policy_id text,
    candidate_target_s double precision,
    candidate_due_at bigint,
    candidate_met_at bigint
) WITH (fillfactor = 70);
CREATE INDEX shadow_clocks_started ON shadow_clocks (started_at);
CREATE INDEX shadow_clocks_shop ON shadow_clocks (shop_id, started_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON shadow_clocks TO {{role}};
