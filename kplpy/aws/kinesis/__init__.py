"""Calls PutRecords, ListShards and DescribeStreamSummary through botocore."""
