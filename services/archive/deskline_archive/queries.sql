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

-- name: sealed_to
-- Every topic partition with where its last seal ended (nulls: it has none).
SELECT s.id, s.topic, s.partition, s.seen_at, last.number, last.next_offset, last.tree_size, last.peaks, last.sealed_at
FROM streams AS s LEFT JOIN LATERAL (
    SELECT number, next_offset, tree_size, peaks, sealed_at FROM seals WHERE stream = s.id ORDER BY number DESC LIMIT 1
) AS last ON true
WHERE starts_with(s.topic, $1) ORDER BY s.topic, s.partition;

-- name: bodies
SELECT "offset", broker_time, key, headers, value FROM raw_records
WHERE stream = $1 AND "offset" >= $2 AND "offset" < $3 ORDER BY "offset" LIMIT $4;

-- name: add_seal
INSERT INTO seals (stream, number, first_offset, next_offset, tree_size, leaves, salts, peaks, consistency, origin, root, note, sealed_at, gap)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: seal
SELECT number, first_offset, next_offset, tree_size, leaves, salts, consistency, note, origin, gap FROM seals
WHERE stream = $1 AND number > $2 ORDER BY number LIMIT 1;

-- name: notes
SELECT number, note FROM seals WHERE stream = $1 AND number > $2 ORDER BY number;

-- name: before
SELECT "offset" FROM raw_records WHERE stream = $1 AND "offset" < $2 ORDER BY "offset" LIMIT 100;

-- name: unpublished
SELECT s.topic, s.partition, x.stream, x.number, x.tree_size, x.origin, x.root, x.note, x.sealed_at
FROM seals AS x JOIN streams AS s ON s.id = x.stream
WHERE starts_with(s.topic, $1) AND NOT EXISTS (SELECT FROM published_seals AS p WHERE (p.stream, p.number) = (x.stream, x.number))
ORDER BY x.stream, x.number LIMIT 1000;

-- name: add_published
INSERT INTO published_seals (stream, number) SELECT * FROM unnest($1::integer[], $2::integer[]) ON CONFLICT DO NOTHING;

-- name: dropped
SELECT first_offset, last_offset FROM dropped WHERE stream = $1;

-- name: seal_lock
SELECT pg_try_advisory_lock(hashtextextended('archive.seal', 0));

-- name: seal_unlock
SELECT pg_advisory_unlock(hashtextextended('archive.seal', 0));

-- name: positions
SELECT lane, offsets[1] AS position FROM lanes;

-- name: gap_at
SELECT next_offset, explanation FROM gaps WHERE stream = $1 AND first_offset = $2;

-- name: add_gap
INSERT INTO gaps (stream, first_offset, next_offset, explanation) VALUES ($1, $2, $3, $4);

-- name: lane
SELECT version, offsets[1] AS position FROM lanes WHERE lane = $1 FOR UPDATE;

-- name: lane_versions
SELECT lane, version FROM lanes WHERE lane = ANY($1::text[]);

-- name: move_lane
UPDATE lanes SET version = version + 1, offsets = ARRAY[$2::bigint] WHERE lane = $1;

-- name: stream
SELECT id FROM streams WHERE topic = $1 AND partition = $2;

-- name: oldest_unsealed
-- The last seal (or the first sight) of the topic partition that has waited longest with records that no seal covers.
SELECT min(COALESCE(last.sealed_at, s.seen_at))
FROM streams AS s JOIN lanes AS l ON $1 || l.lane = s.topic || '/' || s.partition LEFT JOIN LATERAL (
    SELECT next_offset, sealed_at FROM seals WHERE stream = s.id ORDER BY number DESC LIMIT 1
) AS last ON true
WHERE starts_with(s.topic, $1) AND l.offsets[1] > COALESCE(last.next_offset, 0);
