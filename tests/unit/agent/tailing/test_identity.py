"""Names that rotation gives, and how many files may be open."""

from __future__ import annotations

import resource

import pytest

from kplpy.agent.tailing.descriptors import DEFAULT_LIMIT, default_limit
from kplpy.agent.tailing.identity import is_rotated_name, without_rotation


@pytest.mark.parametrize(
    "new",
    ["app.log.1", "app.log-20260102", "app.log.2026-01-02T03:04", "app.log1772618400", "app.log.old", "app.log~"],
)
def test_endings_of_rotation(new: str) -> None:
    assert is_rotated_name("app.log", new)


@pytest.mark.parametrize("new", ["app-20260102.log", "app.1.log"])
def test_endings_of_rotation_before_the_extension(new: str) -> None:
    assert is_rotated_name("app.log", new)


@pytest.mark.parametrize("new", ["app.log", "app.log.err", "application.log", "app2.log", "web.log", "pp.log.1"])
def test_other_names(new: str) -> None:
    assert not is_rotated_name("app.log", new)


@pytest.mark.parametrize(
    ("name", "base"),
    [("app.log.1", "app.log"), ("app.log-2026-01-02.3", "app.log"), ("app.log", "app.log"), ("7", "7")],
)
def test_names_without_the_ending_of_rotation(name: str, base: str) -> None:
    assert without_rotation(name) == base


@pytest.mark.parametrize(
    ("soft", "expected"), [(1024, 512), (1 << 20, DEFAULT_LIMIT), (resource.RLIM_INFINITY, DEFAULT_LIMIT), (1, 1)]
)
def test_half_of_the_descriptors_of_the_process(monkeypatch: pytest.MonkeyPatch, soft: int, expected: int) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda kind: (soft, soft))
    assert default_limit() == expected
