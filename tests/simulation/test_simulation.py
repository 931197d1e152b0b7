"""A thousand seeded histories keep all invariants. `make simulate SEED=…` replays one of them."""

from __future__ import annotations

import os

import pytest

from tests.simulation.run import play_all

HISTORIES = int(os.environ.get("HISTORIES") or 1000)
CHUNK = 20


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_histories(first: int) -> None:
    found = play_all(range(first, first + CHUNK))
    assert not found.failures, "\n".join(f"SEED={seed}: {what}" for seed, what in found.failures)
    # The histories must be long enough to mean something.
    assert sorted(found.records)[CHUNK // 2] >= 500
    assert sorted(found.seconds)[CHUNK // 2] >= 60
