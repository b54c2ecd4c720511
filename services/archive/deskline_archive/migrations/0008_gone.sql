-- What is known of those whom retention has taken from the database: their contents stand in the cold store alone, and a
-- person's erasure and a legal hold have to reach them there. Ids and days, no contents.

-- name: as in erased, the record's key, or its position. generation NULL: it was stored in the clear.
CREATE TABLE gone_names (
    name bytea NOT NULL,
    day date NOT NULL,
    generation smallint,
    customer_id text,
    shop_id text,
    records bigint NOT NULL,
    plain_ids boolean NOT NULL,                -- records that hold ids, times and numbers alone
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX gone_names_name ON gone_names (name);
CREATE INDEX gone_names_customer ON gone_names (customer_id) WHERE customer_id IS NOT NULL;
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON gone_names
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT ON gone_names TO {{role}}, deskline_auditor;

-- Which offsets of a day's stream are concerned; NULL: any. A copy is made anew only where it holds one of them.
ALTER TABLE erased_days ADD COLUMN first_offset bigint, ADD COLUMN last_offset bigint;

-- The stream and offset of a name that is a position, as veil.py's name_of() writes it; no row where it is none.
CREATE FUNCTION position_of(name text) RETURNS TABLE (stream integer, at bigint)
    LANGUAGE sql STABLE SET search_path = {{schema}}, pg_temp AS $$
    SELECT s.id, found[3]::bigint FROM regexp_match(name, '^(.+)/(\d{1,9})/(\d{1,18})$') AS found
    JOIN streams AS s ON s.topic = found[1] AND s.partition = found[2]::integer
$$;

-- As in 0004, and: of a position too, and of what is in the cold store alone.
CREATE OR REPLACE FUNCTION not_erasable(conversation text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    newest timestamptz;
    oldest timestamptz;
    newest_day date;
    oldest_day date;
    held bigint;
BEGIN
    SELECT max(broker_time), min(broker_time) INTO newest, oldest FROM (
        -- Not the archive's own log, whose records are kept under the customer's id.
        SELECT broker_time FROM all_records
        WHERE (subject = conversation OR key = convert_to(conversation, 'UTF8')) AND (type IS NULL OR type NOT LIKE 'archive.%')
        UNION ALL
        SELECT r.broker_time FROM position_of(conversation) AS p JOIN all_records AS r ON r.stream = p.stream AND r."offset" = p.at AND r.key IS NULL
    ) AS known;
    IF date_trunc('day', newest AT TIME ZONE 'UTC') + interval '181 days' > now() AT TIME ZONE 'UTC' THEN
        RETURN 'kept until ' || to_char(newest AT TIME ZONE 'UTC' + interval '181 days', 'YYYY-MM-DD') || ': 180 full days';
    END IF;
    SELECT max(g.day), min(g.day) INTO newest_day, oldest_day FROM gone_names AS g WHERE g.name = convert_to(conversation, 'UTF8');
    newest_day := GREATEST(newest_day, (newest AT TIME ZONE 'UTC')::date);
    oldest_day := LEAST(oldest_day, (oldest AT TIME ZONE 'UTC')::date);
    SELECT h.id INTO held FROM holds_in_force AS h WHERE CASE h.kind
        WHEN 'period' THEN oldest_day <= h.last_day AND newest_day >= h.first_day
        WHEN 'conversation' THEN conversation = h.value
        WHEN 'shop' THEN EXISTS (SELECT FROM all_records WHERE subject = conversation AND shop_id = h.value)
            OR EXISTS (SELECT FROM gone_names AS g WHERE g.name = convert_to(conversation, 'UTF8') AND g.shop_id = h.value)
        ELSE EXISTS (SELECT FROM all_records WHERE subject = conversation AND customer_id = h.value)
            OR EXISTS (SELECT FROM gone_names AS g WHERE g.name = convert_to(conversation, 'UTF8') AND g.customer_id = h.value) END
    LIMIT 1;
    RETURN CASE WHEN held IS NOT NULL THEN format('legal hold %s', held) END;
END $$;

-- As in 0004, and: keeps in mind whose records went.
CREATE OR REPLACE FUNCTION drop_day(day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    name text;
    part regclass;
    why text;
    freed bigint;
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
    RETURN freed;
END $$;

-- Whoever is erased is looked for among records that have no key, too: few, and found by an index once their day is closed.
DO $$
DECLARE
    part text;
    words text;
BEGIN
    FOR words IN SELECT format('words_%s_%s', to_char(day, 'YYYYMMDD'), generation) FROM closed_days LOOP
        IF to_regclass(format('{{schema}}.%I', words)) IS NOT NULL THEN
            EXECUTE format('CREATE INDEX ON %I (broker_time DESC, stream DESC, "offset" DESC)', words);
        END IF;
    END LOOP;
    FOR part IN SELECT 'records_' || to_char(day, 'YYYYMMDD') FROM closed_days GROUP BY day LOOP
        IF to_regclass(format('{{schema}}.%I', part)) IS NOT NULL THEN
            EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (stream, "offset") WHERE key IS NULL', part || '_keyless', part);
        END IF;
    END LOOP;
END $$;

-- As in 0005, and with that index. A word that is everywhere is found by reading the newest messages first, which needs them in
-- that order; a rare one by its pairs: the planner has the frequency of each.
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
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (subject, broker_time)', 'records_' || stamp || '_subject', 'records_' || stamp);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (customer_id) WHERE customer_id IS NOT NULL', 'records_' || stamp || '_customer', 'records_' || stamp);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (shop_id, broker_time) WHERE shop_id IS NOT NULL', 'records_' || stamp || '_shop', 'records_' || stamp);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (agent_id, broker_time) WHERE agent_id IS NOT NULL', 'records_' || stamp || '_agent', 'records_' || stamp);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (stream, "offset") WHERE key IS NULL', 'records_' || stamp || '_keyless', 'records_' || stamp);
    EXECUTE format('ANALYZE %I', 'records_' || stamp);
    INSERT INTO closed_days (day, generation, rows, stored_rows) VALUES (day, generation, found, stored);
    FOR old IN SELECT c.generation FROM closed_days AS c WHERE c.day = finish_words.day AND c.generation < finish_words.generation LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', format('words_%s_%s', stamp, old));
    END LOOP;
END $$;
