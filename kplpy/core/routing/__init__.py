"""Chooses the shard that a record goes to."""
