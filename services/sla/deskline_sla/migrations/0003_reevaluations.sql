-- How far versions that were applied for open clocks, too, have been brought to them, by lane: all that came into force up to
-- done_until, and of those up to reached_at as far as the row (due, subject). Written by the unit of work that brought them.
CREATE TABLE reevaluations (
    lane integer PRIMARY KEY,
    done_until bigint NOT NULL,
    reached_at bigint NOT NULL,
    due bigint NOT NULL,
    subject text NOT NULL
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE ON reevaluations TO {{role}};
