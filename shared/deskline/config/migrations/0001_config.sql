-- Versions of every shop's configuration (search_path is the schema; {{role}} is the role of `deskline config`).
--
-- What is in force is decided from shops.v1 (contract §3); these tables give numbers, keep history and hold the bodies
-- that the topic names by hash only. Nothing here is ever updated: the role may add and read.

CREATE TABLE bodies (
    sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    body bytea NOT NULL                     -- canonical JSON: equal documents have equal hashes
);
-- Some hundred KiB of text per set of rules: kept compressed, fetched once per version and process.

-- One row per shop and command that changed something of it.
CREATE TABLE applies (
    shop_id text NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    applied_at timestamptz NOT NULL,
    applied_by text NOT NULL,
    effective_from timestamptz NOT NULL,
    reevaluate boolean NOT NULL,
    rollback_to bigint,                     -- the version whose documents were put back
    comment text NOT NULL DEFAULT '',
    PRIMARY KEY (shop_id, version)
);

-- The documents that a version changed. One that it left alone keeps its last number.
CREATE TABLE documents (
    shop_id text NOT NULL,
    version bigint NOT NULL,
    document text NOT NULL CHECK (document IN ('agents', 'calendars', 'sla', 'routing', 'limits', 'rules')),
    sha256 text NOT NULL REFERENCES bodies,
    inherited boolean NOT NULL,             -- a copy of _default's, because the shop gave its own up
    PRIMARY KEY (shop_id, document, version),
    FOREIGN KEY (shop_id, version) REFERENCES applies
);

-- Events of committed versions that the broker has not acknowledged. In order of seq; the next command publishes them.
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id text NOT NULL,
    value bytea NOT NULL
);

GRANT SELECT, INSERT ON bodies, applies, documents TO {{role}};
GRANT SELECT, INSERT, DELETE ON outbox TO {{role}};

-- Every service reads bodies of rules by their hash. Its role may not exist yet when this file runs, and nothing in a
-- body is a secret of one service from another; the tables above stay closed to them.
GRANT USAGE ON SCHEMA {{schema}} TO PUBLIC;
GRANT SELECT ON bodies TO PUBLIC;
