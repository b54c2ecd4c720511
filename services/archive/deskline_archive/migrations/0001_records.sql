-- The archive's tables (search_path is the archive's schema; {{role}} is the service's role).
--
-- raw_records holds what Kafka acknowledged, byte for byte, in one range partition per UTC day of the broker's time.
-- The service may add and read, nothing else: UPDATE, DELETE and TRUNCATE are not granted, and a trigger refuses them
-- even to the owner of the tables. The only way to drop a day is drop_day(), which refuses before 180 full days.

-- A topic-partition gets a number: the unique index then has two integers, where the topic's name in every entry
-- made it three times as large (measured: docs/decisions/0701).
CREATE TABLE streams (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,                       -- the full name, with the deployment's prefix
    partition integer NOT NULL CHECK (partition >= 0),
    UNIQUE (topic, partition)
);

CREATE TABLE raw_records (
    stream integer NOT NULL,                   -- streams.id
    "offset" bigint NOT NULL,
    broker_time timestamptz NOT NULL,          -- message.timestamp.type=LogAppendTime; never the sender's time
    key bytea,                                 -- NULL where the record has none
    headers bytea,                             -- as header_json() reads it; NULL: no headers
    value bytea,                               -- NULL where the record has none
    -- Decoded beside the raw bytes, for people who look for something. Nothing is decided by them.
    type text,
    subject text,
    shop_id text,
    event_time timestamptz,                    -- contract §1: the record's own time, or the broker's where retimed
    retimed boolean NOT NULL,
    validity text NOT NULL                     -- valid | unknown_type | letter | a reason of dead-letters.v1
) PARTITION BY RANGE (broker_time);

-- Values above 2 kB are compressed; lz4 costs a fifth of pglz where the server was built with it.
DO $$
BEGIN
    ALTER TABLE raw_records ALTER COLUMN value SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the archive is written once: % on %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Whole days older than 180 days go by drop_day(); nothing else ever does.';
END $$;

-- Row triggers on the parent are copied to every day; TRUNCATE has statement triggers only, set by ensure_days().
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE ON raw_records
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON raw_records
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A stream that went away would take its records out of every view.
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON streams
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes the partitions of the days first..last (UTC, both included) that do not exist; says how many it made.
-- ATTACH needs a lock that inserts do not wait for, CREATE … PARTITION OF would stop them all.
CREATE FUNCTION ensure_days(first date, last date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp AS $$
DECLARE
    day date;
    name text;
    made integer := 0;
BEGIN
    -- A bound against a mistaken argument: no caller needs more than a year at once.
    IF first < '0001-01-01' OR last > '9999-12-31' OR (last - first BETWEEN 0 AND 400) IS NOT TRUE THEN
        RAISE EXCEPTION 'days % to %: from first to last, at most 401 at once', first, last USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Two instances may want the same day in the same moment. Held to the end of the transaction: the second then
    -- sees what the first made, or that it was rolled back.
    PERFORM pg_advisory_xact_lock(hashtextextended('{{schema}}.ensure_days', 0));
    FOR offset_days IN 0 .. last - first LOOP
        day := first + offset_days;
        name := 'records_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(format('{{schema}}.%I', name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE raw_records INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)', name);
        -- One offset stands in one day, so unique within each day is unique at all (broker time is part of a record).
        EXECUTE format('CREATE UNIQUE INDEX %I ON %I (stream, "offset")', name || '_position', name);
        EXECUTE format('CREATE TRIGGER never_truncated BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
        EXECUTE format(
            'ALTER TABLE raw_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            name, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- The days that exist. rows is the planner's estimate; from droppable_from on drop_day() does not refuse.
CREATE VIEW days AS
SELECT day,
       'records_' || to_char(day, 'YYYYMMDD') AS table_name,
       rows,
       bytes,
       (day + 181)::timestamp AT TIME ZONE 'UTC' AS droppable_from
FROM (
    SELECT to_date(substr(child.relname, 9), 'YYYYMMDD') AS day,
           child.reltuples::bigint AS rows,
           pg_total_relation_size(child.oid) AS bytes
    FROM pg_inherits AS tree JOIN pg_class AS child ON child.oid = tree.inhrelid
    WHERE tree.inhparent = '{{schema}}.raw_records'::regclass
) AS partitions;

-- The retention floor. 180 full days: the day itself, then 180 days after its end. The clock is the database's own,
-- no argument moves it. Refuses instead of waiting when ingestion holds the table longer than the lock timeout.
CREATE FUNCTION drop_day(day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {{schema}}, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    name text;
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
    EXECUTE format('ALTER TABLE raw_records DETACH PARTITION %I', name);
    EXECUTE format('DROP TABLE %I', name);
    RETURN freed;
END $$;

-- [[name, hex or null], ...] of a header block: per header the name's length (4 bytes, big-endian; the highest bit says
-- that the name is no text: not UTF-8, or with NUL), the name, the value's length (ffffffff: null), the value.
-- A name that is no text is shown as encode(name, 'escape') shows it, \ooo for its odd bytes.
CREATE FUNCTION header_json(block bytea) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    bytes bytea := block || ''::bytea;         -- a copy in memory: a stored one would be unpacked at every get_byte
    size integer := octet_length(block);
    at integer := 0;
    long integer;
    odd boolean;
    raw bytea;
    name text;
    items jsonb[] := '{}';
BEGIN
    WHILE at < size LOOP
        odd := get_byte(bytes, at) >= 128;
        long := ((get_byte(bytes, at) & 127) << 24) | (get_byte(bytes, at + 1) << 16)
                | (get_byte(bytes, at + 2) << 8) | get_byte(bytes, at + 3);
        raw := substring(bytes FROM at + 5 FOR long);
        name := CASE WHEN odd THEN encode(raw, 'escape') ELSE convert_from(raw, 'UTF8') END;
        at := at + 4 + long;
        IF get_byte(bytes, at) >= 128 THEN
            items := items || jsonb_build_array(name, NULL);
            at := at + 4;
        ELSE
            long := (get_byte(bytes, at) << 24) | (get_byte(bytes, at + 1) << 16)
                    | (get_byte(bytes, at + 2) << 8) | get_byte(bytes, at + 3);
            items := items || jsonb_build_array(name, encode(substring(bytes FROM at + 5 FOR long), 'hex'));
            at := at + 4 + long;
        END IF;
    END LOOP;
    RETURN to_jsonb(items);
END $$;

-- Contract §7. A join, so nothing can be written through it.
CREATE VIEW records AS
SELECT s.topic, s.partition, r."offset", r.broker_time, r.key,
       CASE WHEN r.headers IS NULL THEN '[]'::jsonb ELSE header_json(r.headers) END AS headers,
       r.value
FROM raw_records AS r JOIN streams AS s ON s.id = r.stream;

-- The decoded columns, without the bytes.
CREATE VIEW described AS
SELECT s.topic, s.partition, r."offset", r.broker_time, r.type, r.subject, r.shop_id, r.event_time, r.retimed, r.validity
FROM raw_records AS r JOIN streams AS s ON s.id = r.stream;

REVOKE ALL ON FUNCTION ensure_days(date, date) FROM PUBLIC;
REVOKE ALL ON FUNCTION drop_day(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_days(date, date) TO {{role}};
-- The service never calls drop_day(); the operator does through its role, and the floor holds for both.
GRANT EXECUTE ON FUNCTION drop_day(date) TO {{role}};
GRANT SELECT, INSERT ON streams, raw_records TO {{role}};
GRANT SELECT ON records, described, days TO {{role}};
