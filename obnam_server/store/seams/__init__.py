"""The two seams of storage: where segments lie, and what remembers where chunks are."""
