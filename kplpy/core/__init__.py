"""Policy without I/O: which shard, when to send, when to retry, when to give up.

Plain synchronous code that is told the time. It imports no threads, sockets, clock or botocore, so the whole
producer runs on a virtual clock against a modelled Kinesis.
"""
