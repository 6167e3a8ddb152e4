"""The SQLite file of one generation, blocking, and its manifest."""
