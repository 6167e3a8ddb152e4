"""What a server does by itself, without any key: retention, collection, compaction, scrub."""
