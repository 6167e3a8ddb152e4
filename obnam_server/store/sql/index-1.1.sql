-- From 1.0 to 1.1: trash, pins, holds, collection, signed receipts, accounting. See index.sql for meanings.
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
ALTER TABLE generations ADD COLUMN stored_bytes INTEGER;
CREATE INDEX generations_counted ON generations (
    client, sequence, received, partial, trashed,
    chunk_count, added_count, added_bytes, removed_count, stored_bytes
);
INSERT INTO meta (name, value) SELECT 'used_bytes', coalesce(sum(size), 0) FROM segments;
CREATE TABLE register (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    content BLOB NOT NULL
);
