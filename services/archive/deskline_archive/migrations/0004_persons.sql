-- Persons: whose a record is, content under keys that can end, legal holds, restrictions, erasures; retention by class.

-- Beside the bytes, for those who look for something; and the generation of the key that veils headers and value
-- (deskline_archive/veil.py); NULL: they stand in the clear.
ALTER TABLE raw_records ADD COLUMN customer_id text, ADD COLUMN agent_id text, ADD COLUMN generation smallint;

-- The vault's secrets while the server runs. UNLOGGED: in no WAL and in no base backup, and empty after a crash until the
-- archive has loaded it again. Nobody but the functions below reads it.
CREATE UNLOGGED TABLE keyring (prefix text PRIMARY KEY, secret bytea NOT NULL);

-- TRUNCATE, not DELETE: what is replaced must not linger in its pages.
CREATE FUNCTION load_keyring(prefixes text[], secrets bytea[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
BEGIN
    TRUNCATE keyring;
    INSERT INTO keyring SELECT * FROM unnest(prefixes, secrets);
END $$;

CREATE FUNCTION keyring_size() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS 'SELECT count(*) FROM keyring';

-- The key of a name, NULL where it was erased.
CREATE FUNCTION key_of(name bytea, generation smallint) RETURNS bytea
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    path text := left(encode(sha256(int2send(generation) || name), 'hex'), 16);
    at integer := 0;
    found bytea;
BEGIN
    LOOP
        SELECT secret INTO found FROM keyring WHERE prefix = left(path, at);
        EXIT WHEN found IS NOT NULL;
        at := at + 1;
        IF at > 16 THEN
            IF NOT EXISTS (SELECT FROM keyring) THEN
                RAISE EXCEPTION 'the keys of the archive are not loaded'
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                          HINT = 'The running archive loads them; without it: deskline archive keys.';
            END IF;
            RETURN NULL;
        END IF;
    END LOOP;
    FOR i IN at + 1 .. 16 LOOP
        found := sha256(found || substr(path, i, 1)::bytea);
    END LOOP;
    RETURN found;
END $$;

-- block with its pads, as veil.py does it.
CREATE FUNCTION xored(block bytea, key bytea, stream integer, at bigint, first integer) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    before bytea := key || int4send(stream) || int8send(at);
    pads text := '';
BEGIN
    IF octet_length(block) = 0 THEN
        RETURN block;
    END IF;
    SELECT string_agg(encode(sha512(before || int4send(first + i)), 'hex'), '') INTO pads
    FROM generate_series(0, (octet_length(block) - 1) / 64) AS i;
    RETURN substring(varbit_send(('x' || encode(block, 'hex'))::varbit # ('x' || left(pads, 2 * octet_length(block)))::varbit) FROM 5);
END $$;

-- Days are dropped whole; what a class keeps longer moves here first.
CREATE TABLE kept_records (LIKE raw_records INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMPRESSION);
CREATE UNIQUE INDEX kept_records_position ON kept_records (stream, "offset");
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON kept_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE VIEW all_records AS SELECT * FROM raw_records UNION ALL SELECT * FROM kept_records;

-- Contract §7, as before; an erased content is NULL.
CREATE OR REPLACE VIEW records AS
SELECT s.topic, s.partition, r."offset", r.broker_time, r.key,
       CASE WHEN r.headers IS NULL OR (r.generation IS NOT NULL AND k.secret IS NULL) THEN '[]'::jsonb
            WHEN r.generation IS NULL THEN header_json(r.headers)
            ELSE header_json(xored(r.headers, k.secret, r.stream, r."offset", 1073741824)) END AS headers,
       CASE WHEN r.generation IS NULL THEN r.value ELSE xored(r.value, k.secret, r.stream, r."offset", 0) END AS value
FROM all_records AS r JOIN streams AS s ON s.id = r.stream
LEFT JOIN LATERAL (
    -- OFFSET 0: the key is derived once a row.
    SELECT key_of(COALESCE(r.key, convert_to(s.topic || '/' || s.partition || '/' || r."offset", 'UTF8')), r.generation) AS secret OFFSET 0
) AS k ON r.generation IS NOT NULL;

CREATE OR REPLACE VIEW described AS
SELECT s.topic, s.partition, r."offset", r.broker_time, r.type, r.subject, r.shop_id, r.event_time, r.retimed, r.validity,
       r.customer_id, r.agent_id
FROM all_records AS r JOIN streams AS s ON s.id = r.stream;

-- Retention by record class. A class that is not named goes with its day, after 180 full days. The owner of the database
-- adds and changes classes; the service does not.
CREATE TABLE classes (
    type text PRIMARY KEY,
    days integer NOT NULL CHECK (days >= 180),
    why text NOT NULL
);
INSERT INTO classes VALUES
    ('order.placed.v1', 1096, 'transactions: three years'),
    ('archive.erasure', 3653, 'who asked for what to be erased, and that it was'),
    ('archive.hold', 3653, 'legal holds and their ends');

-- Legal holds. until NULL: until it is lifted.
CREATE TABLE holds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('conversation', 'customer', 'shop', 'period')),
    value text,
    first_day date,
    last_day date,
    who text NOT NULL CHECK (who <> ''),
    why text NOT NULL CHECK (why <> ''),
    until timestamptz,
    at timestamptz NOT NULL DEFAULT now(),
    CHECK (CASE kind WHEN 'period' THEN value IS NULL AND first_day IS NOT NULL AND last_day >= first_day
                     ELSE value <> '' AND first_day IS NULL AND last_day IS NULL END)
);
CREATE TABLE lifted_holds (
    hold bigint PRIMARY KEY REFERENCES holds,
    who text NOT NULL CHECK (who <> ''),
    why text NOT NULL CHECK (why <> ''),
    at timestamptz NOT NULL DEFAULT now()
);
CREATE VIEW holds_in_force AS
SELECT h.* FROM holds AS h
WHERE (h.until IS NULL OR h.until > now()) AND NOT EXISTS (SELECT FROM lifted_holds AS l WHERE l.hold = h.id);

-- A person asked to be erased: masked from now on, erased when the floor is over.
CREATE TABLE restrictions (
    customer_id text PRIMARY KEY,
    who text NOT NULL CHECK (who <> ''),
    why text NOT NULL CHECK (why <> ''),
    at timestamptz NOT NULL DEFAULT now()
);
-- Names whose key has ended: later records of that name take the next generation.
CREATE TABLE erased (
    name bytea NOT NULL,
    generation smallint NOT NULL,
    customer_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (name, generation)
);
-- Every look at restricted data, and what else persons did with the archive.
CREATE TABLE looks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    detail jsonb NOT NULL
);
-- Segments that are in the cold store, and exports that were handed out.
CREATE TABLE copies (
    stream integer NOT NULL,
    number integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    bytes bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, number, at),
    FOREIGN KEY (stream, number) REFERENCES seals
);
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['holds', 'lifted_holds', 'restrictions', 'erased', 'looks', 'copies'] LOOP
        EXECUTE format('CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format('GRANT SELECT%s ON %I TO {{role}}', CASE WHEN name = 'erased' THEN '' ELSE ', INSERT' END, name);
    END LOOP;
END $$;

-- Why a day may not go although it is old enough, NULL where nothing speaks against it. part: the day's table.
CREATE FUNCTION kept_because(day date, part regclass) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    found text;
    held record;
    concerned boolean;
BEGIN
    FOR held IN SELECT * FROM holds_in_force ORDER BY id LOOP
        IF held.kind = 'period' THEN
            concerned := day BETWEEN held.first_day AND held.last_day;
        ELSIF held.kind = 'shop' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE shop_id = $1)', part) INTO concerned USING held.value;
        ELSIF held.kind = 'conversation' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE subject = $1 OR key = convert_to($1, ''UTF8''))', part) INTO concerned USING held.value;
        ELSE
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE customer_id = $1 OR subject IN (SELECT subject FROM all_records WHERE customer_id = $1))', part)
                INTO concerned USING held.value;
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

-- As before, and: refuses a day under a legal hold and one that is not in the cold store; what a class keeps longer moves
-- to kept_records.
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
    EXECUTE format(
        'INSERT INTO kept_records SELECT d.* FROM %I AS d JOIN classes AS c ON c.type = d.type WHERE d.broker_time + make_interval(days => c.days) > now()', name);
    EXECUTE format('DROP TABLE %I', name);
    RETURN freed;
END $$;

-- Of kept_records, what even its class no longer keeps; how many rows. Under a hold nothing goes.
CREATE FUNCTION drop_kept() RETURNS bigint
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
                WHEN 'shop' THEN k.shop_id = h.value
                WHEN 'conversation' THEN k.subject = h.value
                ELSE k.customer_id = h.value OR k.subject IN (SELECT subject FROM all_records WHERE customer_id = h.value) END);
    GET DIAGNOSTICS gone = ROW_COUNT;
    ALTER TABLE kept_records ENABLE TRIGGER written_once;
    RETURN gone;
END $$;

-- Whether all records of a conversation are older than the floor, and no hold concerns it: NULL, or why it must stay.
CREATE FUNCTION not_erasable(conversation text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    newest timestamptz;
    oldest timestamptz;
    held bigint;
BEGIN
    SELECT max(broker_time), min(broker_time) INTO newest, oldest FROM all_records
    WHERE subject = conversation OR key = convert_to(conversation, 'UTF8');
    IF date_trunc('day', newest AT TIME ZONE 'UTC') + interval '181 days' > now() AT TIME ZONE 'UTC' THEN
        RETURN 'kept until ' || to_char(newest AT TIME ZONE 'UTC' + interval '181 days', 'YYYY-MM-DD') || ': 180 full days';
    END IF;
    SELECT h.id INTO held FROM holds_in_force AS h WHERE CASE h.kind
        WHEN 'period' THEN (oldest AT TIME ZONE 'UTC')::date <= h.last_day AND (newest AT TIME ZONE 'UTC')::date >= h.first_day
        WHEN 'conversation' THEN conversation = h.value
        WHEN 'shop' THEN EXISTS (SELECT FROM all_records WHERE subject = conversation AND shop_id = h.value)
        ELSE EXISTS (SELECT FROM all_records WHERE subject = conversation AND customer_id = h.value) END
    LIMIT 1;
    RETURN CASE WHEN held IS NOT NULL THEN format('legal hold %s', held) END;
END $$;

-- Ends the keys of these names, where every conversation among them is over the floor and under no hold; which ended. The
-- lock waits for the units at work, which have read "erased": what comes later takes the next generation.
CREATE FUNCTION end_keys(customer text, names bytea[], generations smallint[]) RETURNS TABLE (name bytea, generation smallint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp SET lock_timeout = '30s' AS $$
BEGIN
    LOCK TABLE erased IN ACCESS EXCLUSIVE MODE;
    LOCK TABLE holds IN SHARE MODE;
    RETURN QUERY INSERT INTO erased (name, generation, customer_id)
        SELECT u.name, u.generation, customer FROM unnest(names, generations) AS u (name, generation)
        WHERE not_erasable(convert_from(u.name, 'UTF8')) IS NULL
        ON CONFLICT DO NOTHING RETURNING erased.name, erased.generation;
END $$;

-- Auditors read and prove; they change nothing.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'deskline_auditor') THEN
        CREATE ROLE deskline_auditor NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;
GRANT USAGE ON SCHEMA {{schema}} TO deskline_auditor;
GRANT SELECT ON records, described, days, all_records, raw_records, kept_records, streams, seals, published_seals, dropped, gaps,
    classes, holds, lifted_holds, holds_in_force, restrictions, erased, looks, copies TO deskline_auditor;
GRANT SELECT ON all_records, kept_records, holds_in_force, classes TO {{role}};

REVOKE ALL ON FUNCTION load_keyring(text[], bytea[]), keyring_size(), key_of(bytea, smallint), drop_kept(), kept_because(date, regclass),
    not_erasable(text), end_keys(text, bytea[], smallint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION load_keyring(text[], bytea[]), keyring_size(), drop_kept(), not_erasable(text), kept_because(date, regclass),
    end_keys(text, bytea[], smallint[]) TO {{role}};
GRANT EXECUTE ON FUNCTION key_of(bytea, smallint), keyring_size(), kept_because(date, regclass), not_erasable(text) TO deskline_auditor;
GRANT EXECUTE ON FUNCTION key_of(bytea, smallint) TO {{role}};
