"""botocore at the edge: clients, PutRecords with a body built by hand, shard listings."""
