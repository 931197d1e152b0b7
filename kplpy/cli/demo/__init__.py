"""`kplpy demo`: real lines through a producer into a local Kinesis, and compared."""
