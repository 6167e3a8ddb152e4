-- What a server knows besides its repositories, schema 1.0: who may talk to it. Secrets are only
-- here as their SHA-256. Times: ns since the epoch. Not rebuildable: back it up.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,          -- schema_version_major, schema_version_minor
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- Clients, from their first invitation on.
CREATE TABLE clients (
    name TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    scopes TEXT NOT NULL,           -- separated by spaces
    created INTEGER NOT NULL,       -- when it was first invited
    token BLOB UNIQUE,              -- SHA-256 of its token; NULL: not enrolled
    revoked INTEGER                 -- when it was revoked; NULL: it is not
) WITHOUT ROWID;

-- Invitations that have not expired.
CREATE TABLE codes (
    code BLOB PRIMARY KEY,          -- SHA-256 of the one-time code
    client TEXT NOT NULL REFERENCES clients (name),
    repository TEXT NOT NULL,
    scopes TEXT NOT NULL,
    expires INTEGER NOT NULL,
    token BLOB                      -- SHA-256 of the token that used it; NULL: not used yet
) WITHOUT ROWID;

CREATE INDEX codes_by_client ON codes (client);
