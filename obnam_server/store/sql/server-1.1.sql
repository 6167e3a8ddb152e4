-- From 1.0 to 1.1: tokens can be rotated. See server.sql for meanings.
ALTER TABLE clients ADD COLUMN next_token BLOB;
CREATE UNIQUE INDEX clients_by_next_token ON clients (next_token);
