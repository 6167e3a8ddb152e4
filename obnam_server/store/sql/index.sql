-- The index of one repository, schema 1.1. Rebuilt from the segments by `obnam-server
-- rebuild-index`, but for sessions. Times: ns since the epoch. See docs/format/index.md.

-- One row per fact: schema_version_major, schema_version_minor; clean (1: closed properly);
-- next_segment, next_chunk, next_sequence: the lowest numbers never given; healed_chunks: how many
-- damaged ones were stored again; used_bytes: the sizes of all segments together; "time …": what
-- upkeep notes for itself.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- Chunks that are stored and, as far as is known, undamaged.
CREATE TABLE chunks (
    id BLOB PRIMARY KEY,            -- 33 bytes: algorithm, keyed hash
    number INTEGER NOT NULL,        -- the bit that stands for the chunk in chunk sets
    segment INTEGER NOT NULL,       -- number of the segment that holds it
    offset INTEGER NOT NULL,        -- of the sealed bytes, from the start of the segment (bytes)
    length INTEGER NOT NULL         -- of the sealed bytes (bytes)
) WITHOUT ROWID;

-- From a number to where and how large its chunk is, without looking into the table itself: what
-- collection and accounting ask, for many chunks at a time.
CREATE UNIQUE INDEX chunks_by_number ON chunks (number, segment, length);

-- Chunks that have a number and are not to be had: referred to but not stored yet, or damaged.
-- A commit is refused when its set meets these.
CREATE TABLE absent (
    number INTEGER PRIMARY KEY,
    id BLOB UNIQUE,                 -- NULL: lost together with the segment that named it
    damaged INTEGER NOT NULL,       -- 0: not stored yet; 1: was stored once
    segment INTEGER,                -- damaged: the segment with the damaged copy, if it is known
    record INTEGER                  -- damaged: the segment that records it; NULL: none yet
);

CREATE INDEX absent_damaged ON absent (number) WHERE damaged = 1;

-- Numbers of chunks that are gone for good, collected or never stored: no row, or one.
CREATE TABLE gone (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    numbers BLOB NOT NULL           -- 64-bit roaring bitmap
);

-- Segments that are accounted for.
CREATE TABLE segments (
    number INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,          -- 1 chunks, 2 commit, 3 keyring, 4 register, 5 damage, 6 compacted
    size INTEGER NOT NULL,          -- of the whole file (bytes)
    created INTEGER                 -- when it was begun; NULL: noted before version 1.1
);

-- Committed generations.
CREATE TABLE generations (
    sequence INTEGER PRIMARY KEY,   -- counts the repository's commits from 1
    id TEXT NOT NULL UNIQUE,        -- 32 hexadecimal digits
    client TEXT NOT NULL,
    previous TEXT,                  -- the same client's generation before it
    base TEXT,                      -- the generation that its session began from
    received INTEGER NOT NULL,      -- when it was committed
    partial INTEGER NOT NULL,       -- 1: a checkpoint
    chunk_count INTEGER NOT NULL,
    chunk_xor BLOB NOT NULL,        -- 33 bytes: all its chunk ids, XORed
    manifest_id BLOB NOT NULL,      -- 33 bytes
    segment INTEGER NOT NULL,       -- where its manifest lies
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    chunks BLOB NOT NULL,           -- its set of chunk numbers: 64-bit roaring bitmap
    trashed INTEGER,                -- when it was put into the trash; NULL: it is not
    signature BLOB,                 -- 64 bytes: the server's, on its receipt; NULL: unsigned
    receipt_hash BLOB,              -- 32 bytes: of the receipt before it, which is signed with it
    added_count INTEGER,            -- chunks that the client's generation before it lacks;
    added_bytes INTEGER,            -- their sealed bytes;
    removed_count INTEGER,          -- chunks that only the one before it has;
    stored_bytes INTEGER            -- of all segments then, without its own; NULL: not counted
);

CREATE INDEX generations_by_client ON generations (client, sequence);

-- The figures of generations without their sets, which can have a MiB each.
CREATE INDEX generations_counted ON generations (
    client, sequence, received, partial, trashed,
    chunk_count, added_count, added_bytes, removed_count, stored_bytes
);

-- What lists of generations show. Many rows are read here without their sets, which lie before the
-- last columns, and have some KiB each, or a MiB.
CREATE INDEX generations_listed ON generations (
    trashed, sequence, id, received, client, previous, partial, chunk_count, manifest_id,
    signature, receipt_hash, segment
);

-- Where the keyring lies: no row, or one.
CREATE TABLE keyring (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,       -- counts replacements from 1
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL
);

-- What was decided about generations (trash, pins, hold, alarms): no row, or one.
CREATE TABLE register (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,       -- counts replacements from 1
    segment INTEGER NOT NULL,       -- the segment that holds it
    content BLOB NOT NULL           -- the same JSON as there
);

-- Passes of the scrub, which reads everything that is stored: the last one, and the one before.
CREATE TABLE scrub_passes (
    began INTEGER PRIMARY KEY,
    ended INTEGER,                  -- NULL: it is under way
    segment INTEGER NOT NULL,       -- the last one checked; 0: none yet
    bytes INTEGER NOT NULL,         -- size of the segments checked so far
    damaged INTEGER NOT NULL        -- chunks found to be damaged
);

-- What is wrong with segments, besides damaged chunks, as the scrub found it last.
CREATE TABLE scrub_problems (
    segment INTEGER PRIMARY KEY,
    problem TEXT NOT NULL
);

-- Segments that are being replaced because they are damaged: deleted when the index has forgotten
-- them, and not taken for lost ones that came back.
CREATE TABLE leaving (
    segment INTEGER PRIMARY KEY
);

-- Running backups.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,            -- 32 hexadecimal digits
    client TEXT NOT NULL,
    base TEXT,                      -- its set begins as this generation's
    touched INTEGER NOT NULL,       -- when a request named it last
    chunk_count INTEGER NOT NULL,   -- of its set now
    chunk_xor BLOB NOT NULL         -- of its set now
) WITHOUT ROWID;

-- How a session's set differs from its base's: steps in order, each adds, then removes.
CREATE TABLE session_steps (
    step INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    added BLOB NOT NULL,            -- 64-bit roaring bitmap
    removed BLOB NOT NULL
);

CREATE INDEX session_steps_by_session ON session_steps (session, step);
