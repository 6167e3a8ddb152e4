"""The process pool: shared-memory slabs, jobs, and the pool's Deferred front."""
