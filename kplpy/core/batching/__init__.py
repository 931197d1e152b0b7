"""Turns records into requests: aggregates, shard queues, limits, collection."""
