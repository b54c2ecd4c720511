-- Drills: restores of a backup that were checked against the other store. The last good one is a metric.
CREATE TABLE drills (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    backup text NOT NULL,
    seconds double precision NOT NULL,
    restored bigint NOT NULL,
    replayed bigint NOT NULL,
    findings integer NOT NULL
);
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON drills
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON drills TO {{role}};
GRANT SELECT ON drills TO deskline_auditor;
