-- A person with a thousand conversations is asked about at once: what has no index yet (the open day) is read once, not a
-- thousand times. A record whose key is not its subject has no subject.

CREATE FUNCTION not_erasable_of(names text[]) RETURNS TABLE (name text, why text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH asked AS (SELECT DISTINCT u.asked AS name, convert_to(u.asked, 'UTF8') AS raw FROM unnest(names) AS u (asked)),
    -- Not the archive's own log, whose records are kept under the customer's id.
    known AS (
        SELECT r.subject AS name, max(r.broker_time) AS newest, min(r.broker_time) AS oldest FROM all_records AS r
        WHERE r.subject = ANY(names) AND (r.type IS NULL OR r.type NOT LIKE 'archive.%') GROUP BY 1
        UNION ALL
        SELECT a.name, max(r.broker_time), min(r.broker_time) FROM all_records AS r JOIN asked AS a ON a.raw = r.key
        WHERE r.subject IS NULL AND r.key = ANY(ARRAY(SELECT raw FROM asked)) AND (r.type IS NULL OR r.type NOT LIKE 'archive.%') GROUP BY 1
        UNION ALL
        SELECT a.name, r.broker_time, r.broker_time FROM asked AS a CROSS JOIN LATERAL position_of(a.name) AS p CROSS JOIN LATERAL (
            SELECT broker_time FROM all_records AS x WHERE x.stream = p.stream AND x."offset" = p.at AND x.key IS NULL LIMIT 1
        ) AS r WHERE a.name LIKE '%/%/%'
    ),
    span AS (SELECT k.name, max(k.newest) AS newest, min(k.oldest) AS oldest FROM known AS k GROUP BY 1),
    gone AS (
        SELECT a.name, max(g.day) AS newest, min(g.day) AS oldest FROM asked AS a JOIN gone_names AS g ON g.name = a.raw GROUP BY 1
    )
    SELECT a.name, CASE
        WHEN date_trunc('day', s.newest AT TIME ZONE 'UTC') + interval '181 days' > now() AT TIME ZONE 'UTC'
            THEN 'kept until ' || to_char(s.newest AT TIME ZONE 'UTC' + interval '181 days', 'YYYY-MM-DD') || ': 180 full days'
        ELSE (
            SELECT format('legal hold %s', h.id) FROM holds_in_force AS h WHERE CASE h.kind
                WHEN 'period' THEN LEAST(g.oldest, (s.oldest AT TIME ZONE 'UTC')::date) <= h.last_day
                    AND GREATEST(g.newest, (s.newest AT TIME ZONE 'UTC')::date) >= h.first_day
                WHEN 'conversation' THEN a.name = h.value
                WHEN 'shop' THEN EXISTS (SELECT FROM all_records AS r WHERE r.subject = a.name AND r.shop_id = h.value)
                    OR EXISTS (SELECT FROM gone_names AS n WHERE n.name = a.raw AND n.shop_id = h.value)
                ELSE EXISTS (SELECT FROM all_records AS r WHERE r.subject = a.name AND r.customer_id = h.value)
                    OR EXISTS (SELECT FROM gone_names AS n WHERE n.name = a.raw AND n.customer_id = h.value) END
            ORDER BY h.id LIMIT 1) END
    FROM asked AS a LEFT JOIN span AS s ON s.name = a.name LEFT JOIN gone AS g ON g.name = a.name;
END $$;

CREATE OR REPLACE FUNCTION not_erasable(conversation text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS
    'SELECT why FROM not_erasable_of(ARRAY[conversation])';

-- As in 0004, all names at once.
CREATE OR REPLACE FUNCTION end_keys(customer text, names bytea[], generations smallint[]) RETURNS TABLE (name bytea, generation smallint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp SET lock_timeout = '30s' AS $$
BEGIN
    LOCK TABLE erased IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE holds IN SHARE MODE;
    RETURN QUERY INSERT INTO erased (name, generation, customer_id)
        SELECT u.name, u.generation, customer FROM unnest(names, generations) AS u (name, generation)
        JOIN not_erasable_of(ARRAY(SELECT convert_from(n, 'UTF8') FROM unnest(names) AS n)) AS e ON convert_to(e.name, 'UTF8') = u.name
        WHERE e.why IS NULL
        ON CONFLICT DO NOTHING RETURNING erased.name, erased.generation;
END $$;

-- Dead letters and other records without a subject are found by their key.
CREATE FUNCTION index_day(stamp text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    part text := 'records_' || stamp;
BEGIN
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (subject, broker_time)', part || '_subject', part);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (key) WHERE subject IS NULL', part || '_key', part);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (customer_id) WHERE customer_id IS NOT NULL', part || '_customer', part);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (shop_id, broker_time) WHERE shop_id IS NOT NULL', part || '_shop', part);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (agent_id, broker_time) WHERE agent_id IS NOT NULL', part || '_agent', part);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (stream, "offset") WHERE key IS NULL', part || '_keyless', part);
    EXECUTE format('ANALYZE %I', part);
END $$;

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
    INSERT INTO closed_days (day, generation, rows, stored_rows) VALUES (day, generation, found, stored);
    FOR old IN SELECT c.generation FROM closed_days AS c WHERE c.day = finish_words.day AND c.generation < finish_words.generation LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', format('words_%s_%s', stamp, old));
    END LOOP;
END $$;

SELECT index_day(to_char(day, 'YYYYMMDD')) FROM (SELECT DISTINCT day FROM closed_days) AS closed
WHERE to_regclass(format('{{schema}}.%I', 'records_' || to_char(day, 'YYYYMMDD'))) IS NOT NULL;

REVOKE ALL ON FUNCTION not_erasable_of(text[]), index_day(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION not_erasable_of(text[]) TO {{role}}, deskline_auditor;
