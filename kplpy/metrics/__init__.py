"""What is happening, in numbers: the registry, and the sinks that carry it away."""
