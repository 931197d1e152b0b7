"""The metrics: a registry that counts, and sinks that export its windows."""
