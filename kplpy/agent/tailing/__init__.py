"""Tailing: the files of a pattern, their records, and how far each was accepted."""

from __future__ import annotations

from kplpy.agent.tailing.checkpoints import Checkpoints
from kplpy.agent.tailing.descriptors import Descriptors
from kplpy.agent.tailing.file import TailedFile
from kplpy.agent.tailing.patterns import FilePattern
from kplpy.agent.tailing.tailer import Chunk, Counters, FileStatus, FlowTailer

__all__ = [
    "Checkpoints",
    "Chunk",
    "Counters",
    "Descriptors",
    "FilePattern",
    "FileStatus",
    "FlowTailer",
    "TailedFile",
]
