-- The index of one actor on one chain.
--
-- What is derived from a tipset carries the tipset's id and a mark `reverted`: rows of an abandoned chain stay, and no query
-- of the current view sees them. What is named by its own hash (blocks, cars) carries neither.

-- Which actor and chain this is.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Executed tipsets. Heights that are missing between a tipset and its parent are null rounds; `nulls` says how many.
CREATE TABLE tipsets (
    id       INTEGER NOT NULL PRIMARY KEY,
    key      TEXT NOT NULL UNIQUE,       -- CIDs of its blocks, by commas
    parent   TEXT NOT NULL,
    height   BIGINT NOT NULL,
    nulls    BIGINT NOT NULL,
    state    BLOB NOT NULL,              -- CID of the actor's state after the tipset's messages
    reverted INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX tipsets_current ON tipsets (height) WHERE reverted = 0;

-- Blocks of the actor's state.
CREATE TABLE blocks (
    hash BLOB NOT NULL PRIMARY KEY,      -- multihash
    data BLOB NOT NULL
);

-- CARs, whose bytes are in the object store, and where their blocks lie.
CREATE TABLE cars (
    id   BLOB NOT NULL PRIMARY KEY,      -- SHA-256
    size BIGINT NOT NULL
);
CREATE TABLE car_blocks (
    hash BLOB NOT NULL PRIMARY KEY,      -- multihash
    car  BLOB NOT NULL REFERENCES cars (id),
    at   BIGINT NOT NULL,
    len  BIGINT NOT NULL
);

-- Buckets and the tipset that created them. Their records are in the state.
CREATE TABLE buckets (
    id       INTEGER NOT NULL PRIMARY KEY,
    did      TEXT NOT NULL UNIQUE,
    tipset   BIGINT NOT NULL REFERENCES tipsets (id),
    height   BIGINT NOT NULL,
    reverted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX buckets_by_tipset ON buckets (tipset);

-- Tasks that ran, in their order within the tipset.
CREATE TABLE executions (
    tipset   BIGINT NOT NULL REFERENCES tipsets (id),
    at       BIGINT NOT NULL,
    height   BIGINT NOT NULL,
    bucket   BIGINT NOT NULL REFERENCES buckets (id),
    message  BLOB NOT NULL,              -- CID of the chain's message
    caller   BIGINT NOT NULL,
    cmd      TEXT NOT NULL,
    ran      BLOB NOT NULL,              -- SHA-256 of the input CAR
    receipt  BLOB NOT NULL,              -- SHA-256 of the receipt CAR
    ok       INTEGER NOT NULL,
    version  BIGINT NOT NULL,
    cause    BLOB,                       -- SHA-256 of a receipt CAR
    forks    BLOB NOT NULL,              -- SHA-256 after SHA-256
    reverted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tipset, at)
);
CREATE INDEX executions_in_order ON executions (bucket, height, at) WHERE reverted = 0;
CREATE UNIQUE INDEX executions_by_car ON executions (bucket, ran, version) WHERE reverted = 0;

-- Index rows that the executions wrote. `live` marks the newest row of each key that is not reverted and not a deletion:
-- the current view is a range of the index over live rows.
CREATE TABLE ops (
    tipset   BIGINT NOT NULL REFERENCES tipsets (id),
    at       BIGINT NOT NULL,
    height   BIGINT NOT NULL,
    bucket   BIGINT NOT NULL REFERENCES buckets (id),
    protocol TEXT NOT NULL,
    key      BLOB NOT NULL,
    value    BLOB,                       -- DAG-CBOR; none for a deletion
    live     INTEGER NOT NULL,
    reverted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tipset, at)
);
CREATE UNIQUE INDEX ops_live ON ops (bucket, key, protocol) WHERE live = 1;
CREATE INDEX ops_history ON ops (bucket, key, protocol, height, at);

-- Where index and chain differ, with both sides as evidence. The bucket `*` stands for more than the known buckets.
CREATE TABLE halts (
    tipset   BIGINT NOT NULL REFERENCES tipsets (id),
    height   BIGINT NOT NULL,
    bucket   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    ours     TEXT NOT NULL,
    chain    TEXT NOT NULL,
    reverted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tipset, bucket)
);
