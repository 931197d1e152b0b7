"""The local Kinesis beside other emulators: what each does, and how fast each stores records.

`python -m benchmarks.emulators` prints two tables; docs/local.md has them.
"""
