"""What the agent does with a record before it is put: processors, partition keys, and Java's regular expressions."""

from __future__ import annotations

from kplpy.agent.processing.java_regex import JavaPattern, PatternError, translate
from kplpy.agent.processing.partition_keys import KeysOf, make_partition_keys
from kplpy.agent.processing.process import Process, make_process
from kplpy.agent.processing.processors import OPTION_KEYS
from kplpy.agent.processing.sizes import Join, cut, make_join

__all__ = [
    "OPTION_KEYS",
    "JavaPattern",
    "Join",
    "KeysOf",
    "PatternError",
    "Process",
    "cut",
    "make_join",
    "make_partition_keys",
    "make_process",
    "translate",
]
