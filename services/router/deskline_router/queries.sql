-- name: lock
SELECT version, purged, agent_offsets FROM core FOR UPDATE;

-- name: look
SELECT version, purged, agent_offsets FROM core;

-- name: agents
SELECT body FROM agents WHERE version > $1;

-- name: requests
SELECT body FROM requests WHERE version > $1;

-- name: open_requests
SELECT body FROM requests WHERE NOT ended;

-- name: shops
SELECT body FROM shops WHERE version > $1;

-- name: save_shops
INSERT INTO shops (shop_id, version, body)
SELECT shop_id, $1, body FROM unnest($2::text[], $3::bytea[]) AS new (shop_id, body)
ON CONFLICT (shop_id) DO UPDATE SET version = excluded.version, body = excluded.body;

-- name: customers
SELECT shop_id, customer_id, facts, complaints, last_agent, last_agent_at FROM customers
WHERE (shop_id, customer_id) IN (SELECT * FROM unnest($1::text[], $2::text[]));

-- name: save_customers
INSERT INTO customers (shop_id, customer_id, facts, complaints, seen_at)
SELECT shop_id, customer_id, facts, complaints, $5
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::integer[]) AS new (shop_id, customer_id, facts, complaints)
ON CONFLICT (shop_id, customer_id) DO UPDATE
SET facts = excluded.facts, complaints = excluded.complaints, seen_at = excluded.seen_at;

-- name: save_served
INSERT INTO customers (shop_id, customer_id, facts, last_agent, last_agent_at, seen_at)
SELECT shop_id, customer_id, $5::bytea, agent_id, at, at
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS new (shop_id, customer_id, agent_id, at)
ON CONFLICT (shop_id, customer_id) DO UPDATE
SET last_agent = excluded.last_agent, last_agent_at = excluded.last_agent_at,
    seen_at = greatest(customers.seen_at, excluded.seen_at);

-- name: owners
SELECT lane, subject, agent_id, shop_id FROM owners WHERE lane = ANY($1::integer[]);

-- name: keep_owners
INSERT INTO owners (lane, subject, agent_id, shop_id)
SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[])
ON CONFLICT (lane, subject) DO UPDATE SET agent_id = excluded.agent_id, shop_id = excluded.shop_id;

-- name: drop_owners
DELETE FROM owners WHERE (lane, subject) IN (SELECT * FROM unnest($1::integer[], $2::text[]));

-- name: apply
WITH changed_agents AS (
    INSERT INTO agents (agent_id, version, body)
    SELECT agent_id, $1, body FROM unnest($3::text[], $4::bytea[]) AS new (agent_id, body)
    ON CONFLICT (agent_id) DO UPDATE SET version = excluded.version, body = excluded.body
), changed_requests AS (
    INSERT INTO requests (subject, lane, version, ended, due, body)
    SELECT subject, lane, $1, ended, due, body
    FROM unnest($5::text[], $6::integer[], $7::boolean[], $8::bigint[], $9::bytea[])
        AS new (subject, lane, ended, due, body)
    ON CONFLICT (subject) DO UPDATE
    SET lane = excluded.lane, version = excluded.version, ended = excluded.ended, due = excluded.due,
        body = excluded.body
), logged AS (
    INSERT INTO decision_log (seq, now, inputs, timers, watermarks, agents_watermark, agents_fresh, outputs, actions)
    VALUES ($1, $10, $11, $12, $13, $14, $15, $16, $17)
)
UPDATE core SET version = $1, agent_offsets = $2;

-- name: due_requests
SELECT found.lane, found.subject FROM unnest($1::integer[], $2::bigint[]) AS ripe (lane, watermark)
CROSS JOIN LATERAL (
    SELECT lane, subject, due FROM requests
    WHERE requests.lane = ripe.lane AND due <= ripe.watermark ORDER BY due LIMIT $3
) AS found ORDER BY found.due LIMIT $3;

-- name: next_requests
SELECT ripe.lane, next.due FROM unnest($1::integer[]) AS ripe (lane)
CROSS JOIN LATERAL (
    SELECT due FROM requests
    WHERE requests.lane = ripe.lane AND due IS NOT NULL AND subject <> ALL($2::text[]) ORDER BY due LIMIT 1
) AS next;

-- name: submit
INSERT INTO actions (action_id, lane, body, at) VALUES ($1, $2, $3, $4) ON CONFLICT (action_id) DO NOTHING;

-- name: waiting_actions
SELECT body FROM actions WHERE decided_at IS NULL AND (lane = ANY($1::integer[]) OR lane IS NULL) ORDER BY seq LIMIT $2;

-- name: undecided
SELECT action_id FROM actions WHERE decided_at IS NULL AND action_id = ANY($1::text[]);

-- name: decided
UPDATE actions SET decided_at = $1, outcome = new.outcome
FROM unnest($2::text[], $3::bytea[]) AS new (action_id, outcome) WHERE actions.action_id = new.action_id;

-- name: outcome
SELECT body, at, decided_at, outcome FROM actions WHERE action_id = $1;

-- name: forget_customer
DELETE FROM customers WHERE customer_id = $1 AND ($2::text IS NULL OR shop_id = $2);

-- name: purge_requests
DELETE FROM requests WHERE ended AND version <= $1;

-- name: purge_log
DELETE FROM decision_log WHERE now < $1;

-- name: purged
UPDATE core SET purged = $1;

-- name: record_shadows
INSERT INTO shadow_decisions (
    request_id, attempt, subject, shop_id, policy_version, at, live_agent_id, live_rule_id, live_step, live_priority,
    agent_id, rule_id, step, priority, agreement
)
SELECT * FROM unnest(
    $1::text[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::integer[],
    $10::integer[], $11::text[], $12::text[], $13::integer[], $14::integer[], $15::text[]
)
ON CONFLICT DO NOTHING;
