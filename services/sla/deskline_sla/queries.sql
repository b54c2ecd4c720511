-- name: record
INSERT INTO shadow_clocks (
    clock_id, subject, lane, shop_id, metric, tier, policy_version, complaint_id, started_at,
    live_state, live_policy_id, live_target_s, live_due_at, live_met_at,
    candidate_state, candidate_policy_id, candidate_target_s, candidate_due_at, candidate_met_at
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[],
    $10::text[], $11::text[], $12::float8[], $13::bigint[], $14::bigint[],
    $15::text[], $16::text[], $17::float8[], $18::bigint[], $19::bigint[]
)
ON CONFLICT (clock_id) DO UPDATE SET
    live_state = excluded.live_state, live_policy_id = excluded.live_policy_id,
    live_target_s = excluded.live_target_s, live_due_at = excluded.live_due_at, live_met_at = excluded.live_met_at,
    candidate_state = excluded.candidate_state, candidate_policy_id = excluded.candidate_policy_id,
    candidate_target_s = excluded.candidate_target_s, candidate_due_at = excluded.candidate_due_at,
    candidate_met_at = excluded.candidate_met_at;

-- name: overdue
INSERT INTO overdue_clocks (lane, subject, clock, metric, due_at, shop_id)
SELECT * FROM unnest($1::integer[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
ON CONFLICT (lane, subject, clock) DO UPDATE SET due_at = excluded.due_at;

-- name: not_overdue
DELETE FROM overdue_clocks
USING unnest($1::integer[], $2::text[], $3::text[]) AS gone (lane, subject, clock)
WHERE overdue_clocks.lane = gone.lane
    AND overdue_clocks.subject = gone.subject
    AND overdue_clocks.clock = gone.clock;

-- name: count_overdue
SELECT metric, shop_id, count(*) AS clocks, min(due_at) AS oldest
FROM overdue_clocks
WHERE lane = ANY($1::integer[])
GROUP BY metric, shop_id;

-- name: reevaluations
SELECT lane, done_until, reached_at, due, subject FROM reevaluations WHERE lane = ANY($1::integer[]);

-- name: reevaluated
INSERT INTO reevaluations (lane, done_until, reached_at, due, subject)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])
ON CONFLICT (lane) DO UPDATE SET
    done_until = excluded.done_until, reached_at = excluded.reached_at, due = excluded.due, subject = excluded.subject;

-- name: with_timers
SELECT subject, due, body FROM conversations
WHERE lane = $1 AND due >= $2 AND (due, subject) > ($2, $3)
ORDER BY due, subject LIMIT $4;
