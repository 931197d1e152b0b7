"""The threads around the core: scheduler, senders, buffer, backpressure, delivery and shutdown."""
