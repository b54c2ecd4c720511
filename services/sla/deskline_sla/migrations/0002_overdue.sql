-- Clocks whose breach stands told and that nobody has stopped yet: what people must see now. Written by the unit of work that
-- tells the breach, removed by the one that reads what stops the clock, or takes the breach back. due_at in microseconds
-- since 1970. The table stays as small as the trouble is.
CREATE TABLE overdue_clocks (
    lane integer NOT NULL,
    subject text NOT NULL,
    clock text NOT NULL,
    metric text NOT NULL,
    due_at bigint NOT NULL,
    PRIMARY KEY (lane, subject, clock)
) WITH (fillfactor = 70);

GRANT SELECT, INSERT, UPDATE, DELETE ON overdue_clocks TO {{role}};
