-- From 1.0 to 1.1: settings of repositories. See server.sql for meanings.
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
