-- When each person who is to be erased has to be asked about again: not before something of his may have passed the floor.
CREATE TABLE erasure_dues (
    customer_id text PRIMARY KEY,
    due timestamptz NOT NULL
);
GRANT SELECT ON erasure_dues TO {{role}}, deskline_auditor;

-- names: what of his has to wait; keyless: when the next record without a key passes the floor (it may name him). What waits
-- for something else than the floor, a hold, is asked about every time. What comes later is younger than all this.
CREATE FUNCTION erasure_asked(customer text, names text[], keyless timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    next timestamptz;
BEGIN
    WITH asked AS (SELECT u.asked AS name, convert_to(u.asked, 'UTF8') AS raw FROM unnest(names) AS u (asked)),
    known AS (
        SELECT r.subject AS name, max(r.broker_time) AS newest FROM all_records AS r
        WHERE r.subject = ANY(names) AND (r.type IS NULL OR r.type NOT LIKE 'archive.%') GROUP BY 1
        UNION ALL
        SELECT a.name, max(r.broker_time) FROM all_records AS r JOIN asked AS a ON a.raw = r.key
        WHERE r.subject IS NULL AND r.key = ANY(ARRAY(SELECT raw FROM asked)) GROUP BY 1
        UNION ALL
        SELECT a.name, r.broker_time FROM asked AS a CROSS JOIN LATERAL position_of(a.name) AS p CROSS JOIN LATERAL (
            SELECT broker_time FROM all_records AS x WHERE x.stream = p.stream AND x."offset" = p.at AND x.key IS NULL LIMIT 1
        ) AS r WHERE a.name LIKE '%/%/%'
    ),
    ends AS (
        SELECT a.name, (date_trunc('day', max(k.newest) AT TIME ZONE 'UTC') + interval '181 days') AT TIME ZONE 'UTC' AS at
        FROM asked AS a LEFT JOIN known AS k ON k.name = a.name GROUP BY 1
    )
    SELECT min(GREATEST(e.at, now())) INTO next FROM ends AS e;
    INSERT INTO erasure_dues VALUES (customer, LEAST(next, keyless, now() + interval '180 days'))
    ON CONFLICT (customer_id) DO UPDATE SET due = EXCLUDED.due;
END $$;

-- After a restore: holds, their ends and orders to erase that the archive's own log has and these tables have not. How many.
CREATE FUNCTION apply_log(log text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    entry record;
    found bigint;
    applied bigint := 0;
BEGIN
    LOCK TABLE holds IN SHARE ROW EXCLUSIVE MODE;
    FOR entry IN
        SELECT r.broker_time AS at, r.type, convert_from(r.value, 'UTF8')::jsonb AS told FROM all_records AS r JOIN streams AS s ON s.id = r.stream
        WHERE s.topic = log AND s.partition = 0 AND r.type IN ('archive.hold', 'archive.erasure') ORDER BY r."offset"
    LOOP
        found := 0;
        IF entry.type = 'archive.hold' AND entry.told ? 'hold' THEN
            INSERT INTO holds (id, kind, value, first_day, last_day, who, why, until, at) OVERRIDING SYSTEM VALUE
            VALUES ((entry.told->>'hold')::bigint, entry.told->>'kind', entry.told->>'value', (entry.told->>'first_day')::date,
                    (entry.told->>'last_day')::date, entry.told->>'who', entry.told->>'why', (entry.told->>'until')::timestamptz, entry.at)
            ON CONFLICT (id) DO NOTHING;
            GET DIAGNOSTICS found = ROW_COUNT;
        ELSIF entry.type = 'archive.hold' THEN
            INSERT INTO lifted_holds (hold, who, why, at) VALUES ((entry.told->>'lifted')::bigint, entry.told->>'who', entry.told->>'why', entry.at)
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS found = ROW_COUNT;
        ELSIF entry.told->>'state' = 'ordered' THEN
            INSERT INTO restrictions (customer_id, who, why, at)
            VALUES (entry.told->>'customer_id', entry.told->>'who', entry.told->>'why', entry.at) ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS found = ROW_COUNT;
        END IF;
        applied := applied + found;
    END LOOP;
    PERFORM setval(pg_get_serial_sequence('{{schema}}.holds', 'id'), max(id)) FROM holds HAVING max(id) IS NOT NULL;
    RETURN applied;
END $$;

REVOKE ALL ON FUNCTION erasure_asked(text, text[], timestamptz), apply_log(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erasure_asked(text, text[], timestamptz), apply_log(text) TO {{role}};
