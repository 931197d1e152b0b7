"""RecordFuture, how it is resolved and awaited, and its failures."""
