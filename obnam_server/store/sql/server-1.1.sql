-- From 1.0 to 1.1: tokens can be rotated; settings of repositories. See server.sql for meanings.
ALTER TABLE clients ADD COLUMN next_token BLOB;
CREATE UNIQUE INDEX clients_by_next_token ON clients (next_token);
CREATE TABLE repositories (
    name TEXT PRIMARY KEY,
    quota INTEGER
) WITHOUT ROWID;
CREATE TABLE alert_after (
    repository TEXT NOT NULL,
    client TEXT NOT NULL,
    seconds INTEGER NOT NULL,
    PRIMARY KEY (repository, client)
) WITHOUT ROWID;
