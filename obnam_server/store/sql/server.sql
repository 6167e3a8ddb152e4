-- What a server knows besides its repositories, schema 1.1: who may talk to it. Secrets are only
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
    revoked INTEGER,                -- when it was revoked; NULL: it is not
    next_token BLOB                 -- SHA-256 of the token that takes over when it is first used
) WITHOUT ROWID;

CREATE UNIQUE INDEX clients_by_next_token ON clients (next_token);

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

-- What was set for repositories; a repository may have no row.
CREATE TABLE repositories (
    name TEXT PRIMARY KEY,
    quota INTEGER                   -- of all its segments together (bytes); NULL: no limit
) WITHOUT ROWID;

-- When a backup is missed: so long after the client's last good generation.
CREATE TABLE alert_after (
    repository TEXT NOT NULL,
    client TEXT NOT NULL,           -- '': all clients of the repository that have no row
    seconds INTEGER NOT NULL,
    PRIMARY KEY (repository, client)
) WITHOUT ROWID;
