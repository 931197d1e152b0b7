"""Decides without I/O: which shard, when to send, when to retry, when to fail a record.

Synchronous code that gets the time from its caller. It imports no threads, sockets, clock or botocore. So tests can run
it on a virtual clock against a modelled Kinesis.
"""
