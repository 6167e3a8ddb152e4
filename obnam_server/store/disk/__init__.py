"""The disk as the store uses it: files, SQLite, and the data directory."""
