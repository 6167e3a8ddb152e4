-- From 1.0 to 1.1: trash, pins, holds, collection, scrub, signed receipts, accounting. See index.sql for meanings.
CREATE UNIQUE INDEX chunks_by_number ON chunks (number, segment, length);
CREATE TABLE gone (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    numbers BLOB NOT NULL
);
ALTER TABLE segments ADD COLUMN created INTEGER;
ALTER TABLE generations ADD COLUMN trashed INTEGER;
ALTER TABLE generations ADD COLUMN signature BLOB;
ALTER TABLE generations ADD COLUMN receipt_hash BLOB;
ALTER TABLE generations ADD COLUMN added_count INTEGER;
ALTER TABLE generations ADD COLUMN added_bytes INTEGER;
ALTER TABLE generations ADD COLUMN removed_count INTEGER;
CREATE INDEX generations_listed ON generations (
    trashed, sequence, id, received, client, previous, partial, chunk_count, manifest_id,
    signature, receipt_hash, segment
);
ALTER TABLE generations ADD COLUMN stored_bytes INTEGER;
CREATE INDEX generations_counted ON generations (
    client, sequence, received, partial, trashed,
    chunk_count, added_count, added_bytes, removed_count, stored_bytes
);
INSERT OR REPLACE INTO meta (name, value) SELECT 'used_bytes', coalesce(sum(size), 0) FROM segments;
CREATE TABLE register (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    content BLOB NOT NULL
);
ALTER TABLE absent ADD COLUMN segment INTEGER;
ALTER TABLE absent ADD COLUMN record INTEGER;
CREATE INDEX absent_damaged ON absent (number) WHERE damaged = 1;
CREATE TABLE scrub_passes (
    began INTEGER PRIMARY KEY,
    ended INTEGER,
    segment INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    damaged INTEGER NOT NULL
);
CREATE TABLE scrub_problems (
    segment INTEGER PRIMARY KEY,
    problem TEXT NOT NULL
);
CREATE TABLE leaving (
    segment INTEGER PRIMARY KEY
);
