-- Events on their way to webhooks, schema 1.0. Times: ns since the epoch. What is lost with this
-- file is messages, no data.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,          -- schema_version_major, schema_version_minor
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    url TEXT NOT NULL,              -- of the webhook
    created INTEGER NOT NULL,       -- when the event was announced
    body BLOB NOT NULL,             -- what is sent: JSON
    tries INTEGER NOT NULL,         -- that failed so far
    due INTEGER NOT NULL            -- when to try (again)
);

CREATE INDEX deliveries_by_url ON deliveries (url, number);
