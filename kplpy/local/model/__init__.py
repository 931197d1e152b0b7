"""The modelled Kinesis: an account's streams, shards, limits and faults."""
