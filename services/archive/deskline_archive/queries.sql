-- name: streams
SELECT id, partition, topic FROM streams;

-- name: add_streams
INSERT INTO streams (topic, partition) SELECT * FROM unnest($1::text[], $2::integer[]) ON CONFLICT DO NOTHING;

-- name: ensure_days
SELECT ensure_days($1, $2);

-- name: day_list
SELECT day FROM days;

-- name: retention
SELECT day, rows, bytes, droppable_from, due, CASE WHEN due THEN kept_because(day, to_regclass(table_name)) END AS why
FROM (SELECT *, droppable_from + make_interval(days => $1::integer - 180) <= now() AS due FROM days) AS known ORDER BY day;

-- name: drop_kept
SELECT drop_kept();

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
-- Broker times in microseconds since 1970.
SELECT "offset", (extract(epoch FROM broker_time) * 1000000)::bigint AS broker_at, key, headers, value, generation FROM all_records
WHERE stream = $1 AND "offset" >= $2 AND "offset" < $3 ORDER BY "offset" LIMIT $4;

-- name: bodies_at
-- The records at these offsets of these topic partitions, where they are.
SELECT r."offset", (extract(epoch FROM r.broker_time) * 1000000)::bigint AS broker_at, r.key, r.headers, r.value, r.generation, r.stream
FROM unnest($1::integer[], $2::bigint[]) AS w (stream, at) CROSS JOIN LATERAL (
    SELECT * FROM all_records AS x WHERE x.stream = w.stream AND x."offset" = w.at LIMIT 1) AS r;

-- name: add_seal
INSERT INTO seals (stream, number, first_offset, next_offset, tree_size, leaves, salts, peaks, consistency, origin, root, note, sealed_at, gap)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: seal
SELECT number, first_offset, next_offset, tree_size, leaves, salts, consistency, note, origin, gap FROM seals
WHERE stream = $1 AND number > $2 ORDER BY number LIMIT 1;

-- name: notes
SELECT number, note, gap, first_offset, next_offset FROM seals WHERE stream = $1 AND number > $2 ORDER BY number;

-- name: before
SELECT "offset" FROM all_records WHERE stream = $1 AND "offset" < $2 ORDER BY "offset" LIMIT 100;

-- name: unpublished
SELECT s.topic, s.partition, x.stream, x.number, x.tree_size, x.origin, x.root, x.note, x.sealed_at
FROM seals AS x JOIN streams AS s ON s.id = x.stream
WHERE starts_with(s.topic, $1) AND NOT EXISTS (SELECT FROM published_seals AS p WHERE (p.stream, p.number) = (x.stream, x.number))
ORDER BY x.stream, x.number LIMIT 1000;

-- name: add_published
INSERT INTO published_seals (stream, number) SELECT * FROM unnest($1::integer[], $2::integer[]) ON CONFLICT DO NOTHING;

-- name: dropped
-- By its functions alone, which take no day that is younger.
SELECT first_offset, last_offset FROM dropped WHERE stream = $1 AND (day + 181)::timestamp AT TIME ZONE 'UTC' <= dropped_at ORDER BY first_offset;

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

-- name: key_state
-- Reading "erased" holds its lock to the end of the transaction: an erasure waits for the units at work.
SELECT keyring_size() > 0 AS loaded, (SELECT COALESCE(max(number), 0) FROM erased) AS upto;

-- name: generations
SELECT name, max(generation) + 1 AS generation FROM erased GROUP BY name;

-- name: load_keyring
SELECT load_keyring($1, $2);

-- name: erased
SELECT name, generation FROM erased;

-- name: add_hold
INSERT INTO holds (kind, value, first_day, last_day, who, why, until) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id;

-- name: lift_hold
INSERT INTO lifted_holds (hold, who, why) SELECT id, $2, $3 FROM holds WHERE id = $1 ON CONFLICT DO NOTHING RETURNING hold;

-- name: holds
SELECT h.id, h.kind, COALESCE(h.value, h.first_day || ' to ' || h.last_day) AS what, h.who, h.why, h.at, h.until, l.at AS lifted_at, l.who AS lifted_by
FROM holds AS h LEFT JOIN lifted_holds AS l ON l.hold = h.id ORDER BY h.id;

-- name: restrict
INSERT INTO restrictions (customer_id, who, why) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING customer_id;

-- name: restricted
SELECT customer_id FROM restrictions ORDER BY at, customer_id;

-- name: erasures_due
-- Of those who are to be erased, whom something may have passed the floor for since they were last asked about.
SELECT r.customer_id FROM restrictions AS r LEFT JOIN erasure_dues AS d ON d.customer_id = r.customer_id
WHERE d.due IS NULL OR d.due <= now() ORDER BY r.at, r.customer_id;

-- name: erasure_asked
SELECT erasure_asked($1, $2, $3);

-- name: keyless_due
-- When the next record without a key passes the floor.
SELECT (date_trunc('day', min(r.broker_time) AT TIME ZONE 'UTC') + interval '181 days') AT TIME ZONE 'UTC' FROM all_records AS r
WHERE r.key IS NULL AND r.generation IS NOT NULL AND r.broker_time >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '180 days';

-- name: apply_log
SELECT apply_log($1);

-- name: conversations_of
-- In the database, and in the cold store alone.
SELECT subject FROM all_records WHERE customer_id = $1 AND subject IS NOT NULL
UNION SELECT convert_from(name, 'UTF8') FROM gone_names WHERE customer_id = $1 ORDER BY subject;

-- name: veils_of
-- How many records of each of these conversations ($2: the same as bytes; $3: those that are positions) stand under which
-- generation of its key (NULL: in the clear), and whether in the cold store alone; nothing that was erased.
SELECT name, generation, plain_ids, gone, records FROM (
    SELECT subject AS name, generation, generation IS NULL AND validity = 'valid' AND type LIKE 'sla.%' AS plain_ids, false AS gone, count(*) AS records,
           NULL::timestamptz AS at FROM all_records WHERE subject = ANY($1::text[]) AND (type IS NULL OR type NOT LIKE 'archive.%') GROUP BY 1, 2, 3
    UNION ALL
    SELECT convert_from(key, 'UTF8'), generation, false, false, count(*), NULL FROM all_records
    WHERE subject IS NULL AND key = ANY($2::bytea[]) AND (type IS NULL OR type NOT LIKE 'archive.%') GROUP BY 1, 2
    UNION ALL
    SELECT n.name, r.generation, false, false, 1, NULL FROM unnest($3::text[]) AS n (name) CROSS JOIN LATERAL position_of(n.name) AS p CROSS JOIN LATERAL (
        SELECT generation FROM all_records AS x WHERE x.stream = p.stream AND x."offset" = p.at AND x.key IS NULL LIMIT 1) AS r
    UNION ALL
    SELECT convert_from(name, 'UTF8'), generation, plain_ids, true, sum(records)::bigint, max(at) FROM gone_names WHERE name = ANY($2::bytea[]) GROUP BY 1, 2, 3
) AS v WHERE NOT EXISTS (
    SELECT FROM erased AS e WHERE e.name = convert_to(v.name, 'UTF8')
    AND CASE WHEN v.gone AND v.generation IS NULL THEN e.at >= v.at ELSE e.generation = v.generation END);

-- name: at_position
SELECT r.key IS NULL AS keyless, r.generation FROM position_of($1) AS p JOIN all_records AS r ON r.stream = p.stream AND r."offset" = p.at
UNION ALL SELECT true, generation FROM gone_names WHERE name = convert_to($1, 'UTF8');

-- name: touched
-- Days and streams that hold records of these names ($2, $3: as above), and between which offsets.
SELECT (broker_time AT TIME ZONE 'UTC')::date AS day, stream, min("offset") AS first_offset, max("offset") AS last_offset FROM all_records
WHERE subject = ANY($1::text[]) GROUP BY 1, 2
UNION ALL
SELECT (broker_time AT TIME ZONE 'UTC')::date, stream, min("offset"), max("offset") FROM all_records
WHERE subject IS NULL AND key = ANY($2::bytea[]) GROUP BY 1, 2
UNION ALL
SELECT (r.broker_time AT TIME ZONE 'UTC')::date, p.stream, p.at, p.at FROM unnest($3::text[]) AS n (name) CROSS JOIN LATERAL position_of(n.name) AS p
CROSS JOIN LATERAL (SELECT broker_time FROM all_records AS x WHERE x.stream = p.stream AND x."offset" = p.at AND x.key IS NULL LIMIT 1) AS r
UNION ALL
-- Of a day that went, any of its segments may hold some.
SELECT d.day, d.stream, min(d.first_offset), max(d.last_offset) FROM dropped AS d
WHERE d.day IN (SELECT day FROM gone_names WHERE name = ANY($2::bytea[])) GROUP BY 1, 2;

-- name: ended_since
-- Keys of these names that have ended.
SELECT name, generation, at FROM erased WHERE name = ANY($1::bytea[]);

-- name: next_generation
SELECT COALESCE(max(generation) + 1, 0) FROM erased WHERE name = $1;

-- name: keyless
-- Records without a key, old enough to be erased.
SELECT r.stream, s.topic, s.partition, r."offset", r.headers, r.value, r.generation FROM all_records AS r JOIN streams AS s ON s.id = r.stream
WHERE r.key IS NULL AND r.generation IS NOT NULL AND r.broker_time < now() - interval '180 days' AND starts_with(s.topic, $1)
  AND NOT EXISTS (SELECT FROM erased AS e WHERE e.name = convert_to(s.topic || '/' || s.partition || '/' || r."offset", 'UTF8'));

-- name: exports_since
-- Exports that were handed out: their holders are to be told.
SELECT detail::text AS detail FROM looks WHERE action = 'export' ORDER BY id;

-- name: not_erasable
SELECT name, why FROM not_erasable_of($1) WHERE why IS NOT NULL;

-- name: end_keys
SELECT name, generation FROM end_keys($1, $2::bytea[], $3::smallint[]);

-- name: log_stream
SELECT id FROM streams WHERE topic = $1 AND partition = 0;

-- name: add_log
-- The archive's own record of what people did: one more of its streams, sealed like the others.
INSERT INTO raw_records (stream, "offset", broker_time, key, value, type, event_time, retimed, validity)
SELECT $1, COALESCE((SELECT max("offset") + 1 FROM all_records WHERE stream = $1), 0), $2, $3, $4, $5, $2, false, 'valid';

-- name: log
-- Entries of the archive's own log, from an offset to before another.
SELECT "offset", broker_time, key, value, type FROM all_records WHERE stream = $1 AND "offset" >= $2 AND "offset" < $3 ORDER BY "offset";

-- name: restore_log
INSERT INTO raw_records (stream, "offset", broker_time, key, value, type, event_time, retimed, validity) VALUES ($1, $2, $3, $4, $5, $6, $3, false, 'valid');

-- name: log_lock
SELECT pg_advisory_xact_lock(hashtextextended('archive.log', 0));

-- name: add_look
INSERT INTO looks (who, role, action, detail) VALUES ($1, $2, $3, $4::jsonb);

-- name: add_erased_days
INSERT INTO erased_days (day, stream, first_offset, last_offset) SELECT * FROM unnest($1::date[], $2::integer[], $3::bigint[], $4::bigint[]);

-- name: days_to_close
SELECT day, generation FROM days_to_close ORDER BY day DESC;

-- name: begin_words
SELECT begin_words($1, $2);

-- name: finish_words
SELECT finish_words($1, $2);

-- name: spoken
-- What somebody wrote on a day, after a position, in order.
SELECT stream, "offset", (extract(epoch FROM broker_time) * 1000000)::bigint AS broker_at, key, value, generation, type, subject, shop_id,
       customer_id, agent_id FROM raw_records
WHERE broker_time >= $1 AND broker_time < $2 AND validity = 'valid' AND type IN ('message.received.v1', 'message.sent.v1', 'reply.issued.v1')
  AND (stream, "offset") > ($3, $4) ORDER BY stream, "offset" LIMIT $5;

-- name: closed
SELECT DISTINCT ON (day) day, generation FROM closed_days WHERE day BETWEEN $1 AND $2 ORDER BY day DESC, generation DESC;

-- name: closed_generations
SELECT generation FROM closed_days WHERE day = $1;

-- name: span
SELECT (min(broker_time) AT TIME ZONE 'UTC')::date AS first FROM all_records;

-- name: oldest_day
-- A day that was analysed while it was empty is estimated to be so until it is analysed again: that counts for days to come alone.
SELECT min(day) AS first, max(day) AS last FROM days WHERE rows <> 0 OR day <= (now() AT TIME ZONE 'UTC')::date;

-- name: restricted_among
-- Of these conversations, and of these positions (records without a key).
SELECT DISTINCT r.subject FROM all_records AS r JOIN restrictions AS x ON x.customer_id = r.customer_id WHERE r.subject = ANY($1::text[])
UNION SELECT convert_from(g.name, 'UTF8') FROM gone_names AS g JOIN restrictions AS x ON x.customer_id = g.customer_id
WHERE g.name = ANY(SELECT convert_to(name, 'UTF8') FROM unnest($1::text[]) AS name)
UNION SELECT customer_id FROM restrictions WHERE customer_id = ANY($2::text[]);

-- name: restricted_conversations
-- Of these persons, all: for those who look for a word, once, where asking for each that has it would read the open day each time. A list
-- and no join: of a join the planner thinks that it needs every record.
SELECT DISTINCT convert_to(r.subject, 'UTF8') AS name FROM all_records AS r WHERE r.customer_id = ANY($1::text[]) AND r.subject IS NOT NULL
UNION SELECT g.name FROM gone_names AS g WHERE g.customer_id = ANY($1::text[]);

-- name: found
-- One page of a span of time, newest first. NULL: no such condition.
SELECT r.stream, s.topic, s.partition, r."offset", r.broker_time, r.key, r.value, r.generation, r.type, r.subject, r.shop_id, r.customer_id, r.agent_id
FROM all_records AS r JOIN streams AS s ON s.id = r.stream
WHERE r.broker_time >= $1 AND r.broker_time < $2 AND starts_with(s.topic, $3)
  AND ($4::text[] IS NULL OR r.subject = ANY($4)) AND ($5::text IS NULL OR r.shop_id = $5) AND ($6::text IS NULL OR r.agent_id = $6)
  AND ($7::text IS NULL OR r.type = $7) AND ($8::timestamptz IS NULL OR (r.broker_time, r.stream, r."offset") < ($8, $9, $10))
ORDER BY r.broker_time DESC, r.stream DESC, r."offset" DESC LIMIT $11;

-- name: conversation
SELECT r.stream, s.topic, s.partition, r."offset", r.broker_time, r.key, r.value, r.generation, r.type, r.subject, r.shop_id, r.customer_id, r.agent_id
FROM all_records AS r JOIN streams AS s ON s.id = r.stream
WHERE r.subject = $2 AND starts_with(s.topic, $1) AND r.validity = 'valid' ORDER BY COALESCE(r.event_time, r.broker_time), r.broker_time, r."offset" LIMIT $3;

-- name: to_copy
-- Segments of these streams without a copy, or with one from before somebody was erased from their days.
SELECT x.stream, x.number, c.at IS NOT NULL AS copied FROM seals AS x LEFT JOIN LATERAL (
    SELECT max(at) AS at FROM copies WHERE (stream, number) = (x.stream, x.number)
) AS c ON true
WHERE x.stream = ANY($1::integer[]) AND (c.at IS NULL OR EXISTS (
    SELECT FROM erased_days AS e WHERE e.stream = x.stream AND e.at > c.at
    AND COALESCE(e.first_offset < x.next_offset AND e.last_offset >= x.first_offset, true)))
ORDER BY x.stream, x.number;

-- name: add_copy
INSERT INTO copies (stream, number, name, sha256, bytes) VALUES ($1, $2, $3, $4, $5);

-- name: copies_of_day
-- The newest copy of each segment that holds some of a day.
WITH ranges AS (
    SELECT stream, min("offset") AS first, max("offset") AS last FROM raw_records
    WHERE broker_time >= $1 AND broker_time < $2 AND stream = ANY($3::integer[]) GROUP BY stream
)
SELECT DISTINCT ON (x.stream, x.number) x.stream, x.number, x.first_offset, x.next_offset, c.name, c.sha256
FROM ranges AS r JOIN seals AS x ON x.stream = r.stream AND x.first_offset <= r.last AND x.next_offset > r.first
JOIN copies AS c ON (c.stream, c.number) = (x.stream, x.number) ORDER BY x.stream, x.number, c.at DESC;

-- name: gone_by_day
SELECT FROM dropped WHERE stream = $1 AND first_offset < $3 AND last_offset >= $2 LIMIT 1;

-- name: segment_rows
SELECT "offset", (extract(epoch FROM broker_time) * 1000000)::bigint AS broker_at, key, headers, value, generation,
       broker_time, type, subject, shop_id, customer_id, agent_id FROM all_records
WHERE stream = $1 AND "offset" >= $2 AND "offset" < $3 ORDER BY "offset";

-- name: add_drill
INSERT INTO drills (backup, seconds, restored, replayed, findings) VALUES ($1, $2, $3, $4, $5);

-- name: last_drill
-- The last good one; before the first, since when there is anything to restore.
SELECT COALESCE((SELECT max(at) FROM drills WHERE findings = 0), (SELECT min(seen_at) FROM streams)) AS at;

-- name: stored
SELECT count(*) FROM all_records;

-- name: lanes
SELECT lane, offsets[1] AS position FROM lanes ORDER BY lane;

-- name: advance
UPDATE lanes SET offsets = ARRAY[$2::bigint], version = version + 1 WHERE lane = $1;

-- name: keyring_size
SELECT keyring_size();
