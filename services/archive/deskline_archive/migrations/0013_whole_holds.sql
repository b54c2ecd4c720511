-- A legal hold of a customer or a shop keeps whole conversations: also of a day that holds only what does not name either
-- (an answer after midnight, a dead letter, poison), and where the day that did name them has gone.

-- Keys of the conversations of a customer or a shop, as far as the database has or remembers them. What a conversation is: it has
-- a customer (agents' own records name shops, too).
CREATE FUNCTION keys_held(kind text, whose text) RETURNS TABLE (name bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
    SELECT r.key FROM all_records AS r WHERE kind = 'customer' AND r.customer_id = whose AND r.key IS NOT NULL
    UNION SELECT r.key FROM all_records AS r WHERE kind = 'shop' AND r.shop_id = whose AND r.customer_id IS NOT NULL AND r.key IS NOT NULL
    UNION SELECT g.name FROM gone_names AS g WHERE kind = 'customer' AND g.customer_id = whose
    UNION SELECT g.name FROM gone_names AS g WHERE kind = 'shop' AND g.shop_id = whose AND g.customer_id IS NOT NULL
$$;

-- As in 0004, and with that.
CREATE OR REPLACE FUNCTION kept_because(day date, part regclass) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    found text;
    held record;
    concerned boolean;
BEGIN
    FOR held IN SELECT * FROM holds_in_force ORDER BY id LOOP
        IF held.kind = 'period' THEN
            concerned := day BETWEEN held.first_day AND held.last_day;
        ELSIF held.kind = 'conversation' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE subject = $1 OR key = convert_to($1, ''UTF8''))', part) INTO concerned USING held.value;
        ELSE
            -- Mostly the day itself names whom it concerns.
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I = $1)', part, CASE held.kind WHEN 'shop' THEN 'shop_id' ELSE 'customer_id' END)
                INTO concerned USING held.value;
            IF NOT concerned THEN
                EXECUTE format('SELECT EXISTS (SELECT FROM %s AS p JOIN keys_held($1, $2) AS k ON k.name = p.key)', part)
                    INTO concerned USING held.kind, held.value;
            END IF;
        END IF;
        IF concerned THEN
            RETURN format('legal hold %s of %s (%s %s): %s', held.id, held.who, held.kind, COALESCE(held.value, held.first_day || ' to ' || held.last_day), held.why);
        END IF;
    END LOOP;
    EXECUTE format($q$
        WITH ranges AS (SELECT stream, min("offset") AS first, max("offset") AS last FROM %s GROUP BY stream)
        SELECT format('not sealed yet (%%s/%%s offset %%s)', s.topic, s.partition, r.last) FROM ranges AS r JOIN streams AS s ON s.id = r.stream
        WHERE r.last >= COALESCE((SELECT max(next_offset) FROM seals WHERE stream = r.stream), 0) LIMIT 1$q$, part) INTO found;
    IF found IS NULL THEN
        EXECUTE format($q$
            WITH ranges AS (SELECT stream, min("offset") AS first, max("offset") AS last FROM %s GROUP BY stream)
            SELECT format('not in the cold store yet (%%s/%%s segment %%s)', s.topic, s.partition, x.number)
            FROM ranges AS r JOIN streams AS s ON s.id = r.stream
            JOIN seals AS x ON x.stream = r.stream AND x.first_offset <= r.last AND x.next_offset > r.first
            WHERE NOT EXISTS (SELECT FROM copies AS c WHERE (c.stream, c.number) = (x.stream, x.number)) LIMIT 1$q$, part) INTO found;
    END IF;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION drop_kept() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    LOCK TABLE holds IN SHARE MODE;
    ALTER TABLE kept_records DISABLE TRIGGER written_once;
    DELETE FROM kept_records AS k WHERE NOT EXISTS (
        SELECT FROM classes AS c WHERE c.type = k.type AND k.broker_time + make_interval(days => c.days) > now())
        AND NOT EXISTS (
            SELECT FROM holds_in_force AS h WHERE CASE h.kind
                WHEN 'period' THEN (k.broker_time AT TIME ZONE 'UTC')::date BETWEEN h.first_day AND h.last_day
                WHEN 'conversation' THEN k.subject = h.value OR k.key = convert_to(h.value, 'UTF8')
                ELSE (h.kind = 'shop' AND k.shop_id = h.value) OR (h.kind = 'customer' AND k.customer_id = h.value)
                    OR k.key IN (SELECT name FROM keys_held(h.kind, h.value)) END);
    GET DIAGNOSTICS gone = ROW_COUNT;
    ALTER TABLE kept_records ENABLE TRIGGER written_once;
    RETURN gone;
END $$;

REVOKE ALL ON FUNCTION keys_held(text, text) FROM PUBLIC;
