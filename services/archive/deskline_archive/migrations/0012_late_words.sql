-- A day that was closed and got records afterwards (the archive was away, or behind, when it ended) is closed anew: they were
-- found by no word. And the word index of a day goes with it.

-- How far its topic partitions go: what comes later is at their ends. NULL: closed before this was kept, and late records came.
ALTER TABLE closed_days ADD COLUMN upto numeric;

-- Each topic partition's end is one step in the index of the day.
CREATE FUNCTION day_upto(day date) RETURNS numeric
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    part regclass := to_regclass(format('{{schema}}.%I', 'records_' || to_char(day, 'YYYYMMDD')));
    upto numeric;
BEGIN
    IF part IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT COALESCE(sum(e.last + 1), 0) FROM streams AS s CROSS JOIN LATERAL (SELECT max("offset") AS last FROM %s WHERE stream = s.id) AS e', part)
        INTO upto;
    RETURN upto;
END $$;

DO $$
DECLARE
    closed record;
    stored bigint;
BEGIN
    ALTER TABLE closed_days DISABLE TRIGGER written_once;
    FOR closed IN SELECT DISTINCT ON (day) day, generation, stored_rows, 'records_' || to_char(day, 'YYYYMMDD') AS part,
        format('words_%s_%s', to_char(day, 'YYYYMMDD'), generation) AS words FROM closed_days ORDER BY day, generation DESC
    LOOP
        IF to_regclass(format('{{schema}}.%I', closed.part)) IS NULL THEN
            EXECUTE format('DROP TABLE IF EXISTS %I', closed.words);
        ELSE
            EXECUTE format('SELECT count(*) FROM %I', closed.part) INTO stored;
            IF stored = closed.stored_rows THEN
                UPDATE closed_days SET upto = day_upto(closed.day) WHERE day = closed.day AND generation = closed.generation;
            END IF;
        END IF;
    END LOOP;
    ALTER TABLE closed_days ENABLE TRIGGER written_once;
END $$;

-- As in 0009, and: keeps how far the day went.
CREATE OR REPLACE FUNCTION finish_words(day date, generation integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    stamp text := to_char(day, 'YYYYMMDD');
    name text := format('words_%s_%s', stamp, generation);
    old integer;
    found bigint;
    stored bigint;
BEGIN
    EXECUTE format('CREATE INDEX ON %I USING gin (grams) WITH (fastupdate = off)', name);
    EXECUTE format('CREATE INDEX ON %I (broker_time DESC, stream DESC, "offset" DESC)', name);
    EXECUTE format('ANALYZE %I', name);
    EXECUTE format('SELECT count(*) FROM %I', name) INTO found;
    EXECUTE format('SELECT count(*) FROM %I', 'records_' || stamp) INTO stored;
    PERFORM index_day(stamp);
    INSERT INTO closed_days (day, generation, rows, stored_rows, upto) VALUES (day, generation, found, stored, day_upto(day));
    FOR old IN SELECT c.generation FROM closed_days AS c WHERE c.day = finish_words.day AND c.generation < finish_words.generation LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', format('words_%s_%s', stamp, old));
    END LOOP;
END $$;

-- Days to close: over, with records (exactly, where an estimate may still say none), and without an index of all of them or of
-- those who were erased since.
CREATE OR REPLACE VIEW days_to_close AS
SELECT d.day, COALESCE(c.generation, -1) + 1 AS generation
FROM days AS d CROSS JOIN LATERAL (SELECT day_upto(d.day) AS upto OFFSET 0) AS stored LEFT JOIN LATERAL (
    SELECT generation, at, upto FROM closed_days WHERE day = d.day ORDER BY generation DESC LIMIT 1
) AS c ON true
WHERE d.day < (now() AT TIME ZONE 'UTC')::date AND stored.upto > 0
  AND (c.generation IS NULL OR c.upto IS DISTINCT FROM stored.upto
       OR EXISTS (SELECT FROM erased_days AS e WHERE e.day = d.day AND e.at > c.at));

-- As in 0008, and: the day's word index goes too.
CREATE OR REPLACE FUNCTION drop_day(day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    name text;
    part regclass;
    why text;
    freed bigint;
    closed record;
BEGIN
    IF day IS NULL OR NOT isfinite(day) THEN
        RAISE EXCEPTION 'drop_day wants one calendar day' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    name := 'records_' || to_char(day, 'YYYYMMDD');
    IF (day + 181)::timestamp AT TIME ZONE 'UTC' > now() THEN
        RAISE EXCEPTION 'the records of % are kept until %: 180 full days', day, to_char(day + 181, 'YYYY-MM-DD') || ' 00:00 UTC'
            USING ERRCODE = 'insufficient_privilege', HINT = 'No setting shortens the retention of the archive.';
    END IF;
    part := to_regclass(format('{{schema}}.%I', name));
    IF part IS NULL THEN
        RAISE EXCEPTION 'the archive has no day %', day USING ERRCODE = 'undefined_table';
    END IF;
    freed := pg_total_relation_size(part);
    -- Detached first: nothing can be added between the look and the drop. Nobody lays a hold meanwhile either.
    EXECUTE format('ALTER TABLE raw_records DETACH PARTITION %I', name);
    LOCK TABLE holds IN SHARE MODE;
    why := kept_because(day, part);
    IF why IS NOT NULL THEN
        RAISE EXCEPTION 'the records of % are kept: %', day, why USING ERRCODE = 'insufficient_privilege',
            HINT = 'deskline archive retain --dry-run says what would go, and why not.';
    END IF;
    EXECUTE format(
        'INSERT INTO dropped (stream, first_offset, last_offset, day) SELECT stream, min("offset"), max("offset"), $1 FROM %I GROUP BY stream', name)
        USING day;
    EXECUTE format($q$
        INSERT INTO gone_names (name, day, generation, customer_id, shop_id, records, plain_ids)
        SELECT COALESCE(r.key, convert_to(s.topic || '/' || s.partition || '/' || r."offset", 'UTF8')), $1, r.generation, r.customer_id, r.shop_id,
               count(*), COALESCE(r.generation IS NULL AND r.validity = 'valid' AND s.topic ~ '(sla|shops|checkpoints)\.v1$', false)
        FROM %I AS r JOIN streams AS s ON s.id = r.stream WHERE r.type IS NULL OR r.type NOT LIKE 'archive.%%' GROUP BY 1, 3, 4, 5, 7$q$, name)
        USING day;
    EXECUTE format(
        'INSERT INTO kept_records SELECT d.* FROM %I AS d JOIN classes AS c ON c.type = d.type WHERE d.broker_time + make_interval(days => c.days) > now()', name);
    EXECUTE format('DROP TABLE %I', name);
    FOR closed IN SELECT c.generation FROM closed_days AS c WHERE c.day = drop_day.day LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', format('words_%s_%s', to_char(day, 'YYYYMMDD'), closed.generation));
    END LOOP;
    RETURN freed;
END $$;

REVOKE ALL ON FUNCTION day_upto(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION day_upto(date) TO {{role}}, deskline_auditor;
