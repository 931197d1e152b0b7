"""`kplpy demo`: puts lines into a local Kinesis, reads them back and compares."""
