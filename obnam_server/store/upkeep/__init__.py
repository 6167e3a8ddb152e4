"""Keeping the store whole and small: recovery, checks and repairs, collection and compaction."""
