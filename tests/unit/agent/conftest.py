"""Closes the databases that tests leave open, as a killed process does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def closed_databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close them, because Python 3.13 warns of each at some later moment, in another test."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def recorded(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(connect(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", recorded)
    yield
    for each in made:
        with contextlib.suppress(sqlite3.ProgrammingError):  # of another thread
            each.close()
