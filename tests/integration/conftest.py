"""Real time, without what a busy machine makes of it."""

from __future__ import annotations

import pytest

from kplpy.core import policy
from tests.local_stream import PATIENCE


@pytest.fixture(autouse=True)
def patient_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the first listing may take longer than records wait for it; they would go alone."""
    monkeypatch.setattr(policy, "MAP_PATIENCE", PATIENCE)
