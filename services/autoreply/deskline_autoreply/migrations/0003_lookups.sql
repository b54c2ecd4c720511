-- Entries that agents looked at (`GET /knowledge`), counted per UTC day. Any instance answers any shop, so rows are added to, a few
-- times a minute. ``last_at``: µs since 1970.
CREATE TABLE lookups (
    shop_id text NOT NULL,
    entry_id text NOT NULL,
    day date NOT NULL,
    shown bigint NOT NULL,
    last_at bigint NOT NULL,
    PRIMARY KEY (shop_id, entry_id, day)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE ON lookups TO {{role}};
