"""From records to requests: aggregates, shard queues, limits, collection."""
