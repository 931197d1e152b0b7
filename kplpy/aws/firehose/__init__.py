"""The transport to Amazon Data Firehose."""
