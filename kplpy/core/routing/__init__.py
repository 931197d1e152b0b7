"""Which shard a record goes to."""
