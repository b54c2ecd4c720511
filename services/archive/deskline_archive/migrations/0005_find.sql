-- Finding: closed days get their indexes and an index of words; the views' keys and pads cost half.

-- As in 0004; from an unpunctured root in one expression.
CREATE OR REPLACE FUNCTION key_of(name bytea, generation smallint) RETURNS bytea
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    path text := left(encode(sha256(int2send(generation) || name), 'hex'), 16);
    at integer := 0;
    found bytea;
BEGIN
    SELECT secret INTO found FROM keyring WHERE prefix = '';
    IF found IS NOT NULL THEN
        RETURN sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(sha256(found || substr(path, 1, 1)::bytea) || substr(path, 2, 1)::bytea) || substr(path, 3, 1)::bytea) || substr(path, 4, 1)::bytea) || substr(path, 5, 1)::bytea) || substr(path, 6, 1)::bytea) || substr(path, 7, 1)::bytea) || substr(path, 8, 1)::bytea) || substr(path, 9, 1)::bytea) || substr(path, 10, 1)::bytea) || substr(path, 11, 1)::bytea) || substr(path, 12, 1)::bytea) || substr(path, 13, 1)::bytea) || substr(path, 14, 1)::bytea) || substr(path, 15, 1)::bytea) || substr(path, 16, 1)::bytea);
    END IF;
    LOOP
        at := at + 1;
        IF at > 16 THEN
            IF NOT EXISTS (SELECT FROM keyring) THEN
                RAISE EXCEPTION 'the keys of the archive are not loaded'
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                          HINT = 'The running archive loads them; without it: deskline archive keys.';
            END IF;
            RETURN NULL;
        END IF;
        SELECT secret INTO found FROM keyring WHERE prefix = left(path, at);
        EXIT WHEN found IS NOT NULL;
    END LOOP;
    FOR i IN at + 1 .. 16 LOOP
        found := sha256(found || substr(path, i, 1)::bytea);
    END LOOP;
    RETURN found;
END $$;

-- As in 0004; a short block needs no query.
CREATE OR REPLACE FUNCTION xored(block bytea, key bytea, stream integer, at bigint, first integer) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    before bytea := key || int4send(stream) || int8send(at);
    size integer := octet_length(block);
    pads bytea := '';
    number integer := first;
BEGIN
    IF size = 0 THEN
        RETURN block;
    ELSIF size <= 2048 THEN
        WHILE octet_length(pads) < size LOOP
            pads := pads || sha512(before || int4send(number));
            number := number + 1;
        END LOOP;
    ELSE
        SELECT string_agg(sha512(before || int4send(first + i)), ''::bytea) INTO pads FROM generate_series(0, (size - 1) / 64) AS i;
    END IF;
    RETURN substring(varbit_send(('x' || encode(block, 'hex'))::varbit # ('x' || encode(substring(pads FROM 1 FOR size), 'hex'))::varbit) FROM 5);
END $$;

-- Days that are closed: their word index is the table words_YYYYMMDD_<generation>. A word stands in it as hashes under a key
-- of the day and generation, which ends when somebody is erased: then the day's index is made anew without him, and the old
-- one is noise in every backup.
CREATE TABLE closed_days (
    day date NOT NULL,
    generation integer NOT NULL,
    rows bigint NOT NULL,
    stored_rows bigint NOT NULL,              -- of the day when it was closed: a record that came later shows
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, generation)
);
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON closed_days
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION begin_words(day date, generation integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    name text := format('words_%s_%s', to_char(day, 'YYYYMMDD'), generation);
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS %I', name);
    EXECUTE format('CREATE TABLE %I (stream integer NOT NULL, "offset" bigint NOT NULL, broker_time timestamptz NOT NULL, subject text, shop_id text, customer_id text, agent_id text, type text, grams integer[] NOT NULL)', name);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO {{role}}', name);
END $$;

-- Indexes, then the entry in closed_days, then the older generations go. Also the day's own indexes, which the open day has
-- not: they would cost the ingest.
CREATE FUNCTION finish_words(day date, generation integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    stamp text := to_char(day, 'YYYYMMDD');
    name text := format('words_%s_%s', stamp, generation);
    old integer;
    found bigint;
    stored bigint;
BEGIN
    EXECUTE format('CREATE INDEX ON %I USING gin (grams) WITH (fastupdate = off)', name);
    EXECUTE format('ANALYZE %I', name);
    EXECUTE format('SELECT count(*) FROM %I', name) INTO found;
    EXECUTE format('SELECT count(*) FROM %I', 'records_' || stamp) INTO stored;
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (subject, broker_time)', 'records_' || stamp || '_subject', 'records_' || stamp);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (customer_id) WHERE customer_id IS NOT NULL', 'records_' || stamp || '_customer', 'records_' || stamp);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (shop_id, broker_time) WHERE shop_id IS NOT NULL', 'records_' || stamp || '_shop', 'records_' || stamp);
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %I (agent_id, broker_time) WHERE agent_id IS NOT NULL', 'records_' || stamp || '_agent', 'records_' || stamp);
    EXECUTE format('ANALYZE %I', 'records_' || stamp);
    INSERT INTO closed_days (day, generation, rows, stored_rows) VALUES (day, generation, found, stored);
    FOR old IN SELECT c.generation FROM closed_days AS c WHERE c.day = finish_words.day AND c.generation < finish_words.generation LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', format('words_%s_%s', stamp, old));
    END LOOP;
END $$;

-- Days and streams from which somebody was erased: their copies (word index, cold store) are made anew.
CREATE TABLE erased_days (
    day date NOT NULL,
    stream integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON erased_days
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON erased_days TO {{role}};

-- Days to close: over, with records, and without an index of all of them or of those who were erased since.
CREATE VIEW days_to_close AS
SELECT d.day, COALESCE(c.generation, -1) + 1 AS generation
FROM days AS d LEFT JOIN LATERAL (
    SELECT generation, at FROM closed_days WHERE day = d.day ORDER BY generation DESC LIMIT 1
) AS c ON true
WHERE d.day < (now() AT TIME ZONE 'UTC')::date AND d.rows <> 0
  AND (c.generation IS NULL OR EXISTS (SELECT FROM erased_days AS e WHERE e.day = d.day AND e.at > c.at));

GRANT SELECT ON closed_days, days_to_close TO {{role}}, deskline_auditor;
REVOKE ALL ON FUNCTION begin_words(date, integer), finish_words(date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_words(date, integer), finish_words(date, integer) TO {{role}};
