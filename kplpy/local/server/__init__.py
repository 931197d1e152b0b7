"""The HTTP server for the modelled Kinesis, in this process or in a separate process."""
