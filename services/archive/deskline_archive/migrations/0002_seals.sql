-- Seals: per topic partition, one growing RFC 6962 tree over its records in the order of their offsets, cut into segments
-- that each end with a signed checkpoint. deskline_archive/verifier.py says what a leaf is.
--
-- That text said STORAGE in CREATE TABLE, which PostgreSQL knows from version 16 on:
-- formerly: f8ba6838a73e28c94e726fb6fc464d27b8485569c7cec3e50db7913c2a9eff45

CREATE TABLE seals (
    stream integer NOT NULL REFERENCES streams (id),
    number integer NOT NULL CHECK (number > 0),
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset > first_offset),
    tree_size bigint NOT NULL CHECK (tree_size > 0),
    -- One hash (32 bytes) and one salt (16) per record. Not compressed: they are noise.
    leaves bytea NOT NULL CHECK (octet_length(leaves) = 32 * (next_offset - first_offset)),
    salts bytea NOT NULL CHECK (octet_length(salts) = 16 * (next_offset - first_offset)),
    peaks bytea NOT NULL,                      -- the tree's right edge after this segment: where the next one goes on
    consistency bytea NOT NULL,                -- the proof from the segment before
    origin text NOT NULL,
    root bytea NOT NULL,
    note text NOT NULL,                        -- the signed checkpoint
    sealed_at timestamptz NOT NULL,
    PRIMARY KEY (stream, number),
    UNIQUE (stream, next_offset)
);
ALTER TABLE seals ALTER COLUMN leaves SET STORAGE EXTERNAL, ALTER COLUMN salts SET STORAGE EXTERNAL;

-- Checkpoints that Kafka has acknowledged. What a crash left out is published with the next run, the same bytes.
CREATE TABLE published_seals (
    stream integer NOT NULL,
    number integer NOT NULL,
    PRIMARY KEY (stream, number),
    FOREIGN KEY (stream, number) REFERENCES seals
);

CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON published_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON seals, published_seals TO {{role}};

-- What drop_day() took, so that a proof tells retention from a theft. Only that function writes here.
CREATE TABLE dropped (
    stream integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    day date NOT NULL,
    dropped_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, day, dropped_at)
);
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON dropped
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT ON dropped TO {{role}};

-- As in 0001, and: refuses a day with records that no seal covers, and keeps in mind what went.
CREATE OR REPLACE FUNCTION drop_day(day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    name text;
    unsealed text;
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
    IF to_regclass(format('{{schema}}.%I', name)) IS NULL THEN
        RAISE EXCEPTION 'the archive has no day %', day USING ERRCODE = 'undefined_table';
    END IF;
    freed := pg_total_relation_size(to_regclass(format('{{schema}}.%I', name)));
    -- Detached first: nothing can be added between the look and the drop.
    EXECUTE format('ALTER TABLE raw_records DETACH PARTITION %I', name);
    EXECUTE format(
        'INSERT INTO dropped (stream, first_offset, last_offset, day) SELECT stream, min("offset"), max("offset"), $1 FROM %I GROUP BY stream', name)
        USING day;
    SELECT format('%s/%s offset %s', s.topic, s.partition, d.last_offset) INTO unsealed
    FROM dropped AS d JOIN streams AS s ON s.id = d.stream
    WHERE d.day = drop_day.day AND d.dropped_at = now()
      AND d.last_offset >= COALESCE((SELECT max(next_offset) FROM seals WHERE stream = d.stream), 0)
    LIMIT 1;
    IF unsealed IS NOT NULL THEN
        RAISE EXCEPTION 'the records of % are not sealed yet (%)', day, unsealed
            USING ERRCODE = 'insufficient_privilege', HINT = 'deskline archive seal, then again.';
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN freed;
END $$;
