"""Threads around the core: the scheduler, the senders, room and back-pressure, fork and exit."""
