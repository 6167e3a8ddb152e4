-- The generation database, schema 1.0: one generation of one client.
-- Times are ns since the epoch, sizes and offsets bytes. See docs/format/generation-database.md.

PRAGMA application_id = 0x4F424E4D;  -- "OBNM"

-- What the generation knows of itself: schema_version_major, schema_version_minor, generation,
-- sequence, client, host, roots (JSON), started_ns, ended_ns, counts (JSON), obnam_version,
-- algorithms, unsettled (JSON), next_directory, next_file, next_chunk.
CREATE TABLE meta (
    name   TEXT PRIMARY KEY NOT NULL,
    value  NOT NULL
) WITHOUT ROWID;

-- One row per entry of live data. Columns that do not apply are NULL (one byte in the record).
CREATE TABLE entry (
    directory   INTEGER NOT NULL,  -- number of the directory it lies in; 0: it is a root
    name        BLOB NOT NULL,     -- its name there; of a root: its whole path
    kind        INTEGER NOT NULL,  -- 1 file, 2 directory, 3 symbolic link, 4 FIFO, 5 socket, 6/7 character/block device
    reason      INTEGER NOT NULL,  -- 1 new, 2 changed, 4 error, 5 skipped; unchanged is never written
    since       INTEGER NOT NULL,  -- sequence number of the generation that set the reason; a later one: unchanged
    mode        INTEGER,           -- permission bits, 0 to 0o7777
    uid         INTEGER,
    gid         INTEGER,
    size        INTEGER,           -- files only
    mtime_ns    INTEGER,
    ctime_ns    INTEGER,
    inode       INTEGER,
    device      INTEGER,           -- devices: st_rdev; else, with several links: st_dev; else NULL
    checksum    BLOB,              -- files: xxh3-128 of the content, holes as zeros; NULL: no content is stored
    chunk       INTEGER,           -- files in one extent: the chunk it lies in
    start       INTEGER,           -- ... and where it starts in that chunk's plaintext
    number      INTEGER,           -- directories: their own number; files in several extents: number of the file
    attributes  BLOB,              -- extended attributes; NULL: none
    target      BLOB,              -- symbolic links: what they point to
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;

-- Content of files that lie in several extents. What no extent covers is a hole.
CREATE TABLE extent (
    file      INTEGER NOT NULL,    -- entry.number
    position  INTEGER NOT NULL,    -- where it lies in the file
    chunk     INTEGER NOT NULL,
    start     INTEGER NOT NULL,    -- where it starts in the chunk's plaintext
    length    INTEGER NOT NULL,
    PRIMARY KEY (file, position)
) WITHOUT ROWID;

-- Chunks of data that entries and extents refer to.
CREATE TABLE chunk (
    number  INTEGER PRIMARY KEY,
    id      BLOB NOT NULL UNIQUE,  -- chunk id, 33 bytes
    length  INTEGER NOT NULL,      -- of the plaintext
    uses    INTEGER NOT NULL       -- extents that refer to it
);
