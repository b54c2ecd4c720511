-- What a class keeps longer than its day has not gone with the day: a kept record that somebody takes is missed. Retention of the
-- day stood for all of its offsets.

DO $$
DECLARE
    bound text;
BEGIN
    SELECT conname INTO STRICT bound FROM pg_constraint WHERE conrelid = '{{schema}}.dropped'::regclass AND contype = 'p';
    EXECUTE format('ALTER TABLE dropped DROP CONSTRAINT %I', bound);
END $$;
ALTER TABLE dropped ADD PRIMARY KEY (stream, day, dropped_at, first_offset);

-- As in 0012, and: what went is told without what is kept.
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
    EXECUTE format($q$
        INSERT INTO dropped (stream, first_offset, last_offset, day)
        SELECT stream, min("offset"), max("offset"), $1 FROM (
            SELECT d.stream, d."offset", c.type IS NOT NULL AS kept,
                   row_number() OVER (PARTITION BY d.stream ORDER BY d."offset")
                   - row_number() OVER (PARTITION BY d.stream, c.type IS NOT NULL ORDER BY d."offset") AS run
            FROM %I AS d LEFT JOIN classes AS c ON c.type = d.type AND d.broker_time + make_interval(days => c.days) > now()
        ) AS r WHERE NOT kept GROUP BY stream, run$q$, name)
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

-- As in 0013, and: what went now.
CREATE OR REPLACE FUNCTION drop_kept() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    ALTER TABLE kept_records DISABLE TRIGGER written_once;
    WITH went AS (DELETE FROM kept_records AS k WHERE NOT EXISTS (
        SELECT FROM classes AS c WHERE c.type = k.type AND k.broker_time + make_interval(days => c.days) > now())
        AND NOT EXISTS (
            SELECT FROM holds_in_force AS h WHERE CASE h.kind
                WHEN 'period' THEN (k.broker_time AT TIME ZONE 'UTC')::date BETWEEN h.first_day AND h.last_day
                WHEN 'conversation' THEN k.subject = h.value OR k.key = convert_to(h.value, 'UTF8')
                ELSE (h.kind = 'shop' AND k.shop_id = h.value) OR (h.kind = 'customer' AND k.customer_id = h.value)
                    OR k.key IN (SELECT name FROM keys_held(h.kind, h.value)) END)
        RETURNING k.stream, k."offset", (k.broker_time AT TIME ZONE 'UTC')::date AS day)
    INSERT INTO dropped (stream, first_offset, last_offset, day) SELECT stream, "offset", "offset", day FROM went;
    GET DIAGNOSTICS gone = ROW_COUNT;
    ALTER TABLE kept_records ENABLE TRIGGER written_once;
    RETURN gone;
END $$;
