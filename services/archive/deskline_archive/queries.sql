-- name: streams
SELECT id, partition, topic FROM streams;

-- name: add_streams
INSERT INTO streams (topic, partition) SELECT * FROM unnest($1::text[], $2::integer[]) ON CONFLICT DO NOTHING;

-- name: ensure_days
SELECT ensure_days($1, $2);

-- name: day_list
SELECT day FROM days;

-- name: retention
SELECT day, rows, bytes, droppable_from, droppable_from + make_interval(days => $1::integer - 180) <= now() AS due
FROM days ORDER BY day;

-- name: drop_day
SELECT drop_day($1);
