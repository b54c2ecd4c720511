-- Gaps that a person has explained, and their segments.

-- Offsets that Kafka no longer had when the archive came to them. Without an entry nothing goes on behind a gap.
CREATE TABLE gaps (
    stream integer NOT NULL REFERENCES streams (id),
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset > first_offset),
    explanation text NOT NULL,                 -- JSON: what, who, why, when. The leaf of its segment commits to these bytes
    PRIMARY KEY (stream, first_offset)
);
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON gaps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON gaps TO {{role}};

-- A segment is either records, or one explained gap with a single leaf and no salt.
ALTER TABLE seals ADD COLUMN gap text;
DO $$
DECLARE
    bound text;
BEGIN
    FOR bound IN SELECT conname FROM pg_constraint
        WHERE conrelid = '{{schema}}.seals'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%octet_length%'
    LOOP
        EXECUTE format('ALTER TABLE seals DROP CONSTRAINT %I', bound);
    END LOOP;
END $$;
ALTER TABLE seals ADD CONSTRAINT seals_shape CHECK (CASE WHEN gap IS NULL
    THEN octet_length(leaves) = 32 * (next_offset - first_offset) AND octet_length(salts) = 16 * (next_offset - first_offset)
    ELSE octet_length(leaves) = 32 AND octet_length(salts) = 0 END);

-- When the archive first met it: until its first seal, the age of what is unsealed.
ALTER TABLE streams ADD COLUMN seen_at timestamptz NOT NULL DEFAULT now();
