-- Sentence vectors of what shops have written in their knowledge bases, so that a start and a new version encode only what is new.
-- A cache: whoever misses a row makes it again. ``text``: hash of a phrasing; ``vector``: 512 half-precision numbers, little-endian;
-- ``used_at``: µs since 1970, to the day.
CREATE TABLE phrasing_vectors (
    model text NOT NULL,
    text bytea NOT NULL,
    vector bytea NOT NULL,
    used_at bigint NOT NULL,
    PRIMARY KEY (model, text)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON phrasing_vectors TO {{role}};
