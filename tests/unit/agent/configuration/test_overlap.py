"""Two file patterns overlap if one path can match both."""

from __future__ import annotations

import pytest

from kplpy.agent.configuration.overlap import overlap


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a/b", "/a/b"),
        ("/var/log/*.log", "/var/log/app*"),
        ("/var/log/app?", "/var/log/*1"),
        ("/var/log/**/*log", "/var/log/*/*/*/day.log"),
        ("/var/log/**/*.log", "/var/log/app.log"),
        ("/var/**", "/var/log/a/b"),
        ("/l/[a-c]x", "/l/[!a]x"),
        ("/l/{a,b}.log", "/l/b*"),
        ("/l/a\\*", "/l/a?"),
        ("/l/[*]", "/l/\\*"),
        ("/{a,b/c}/x", "/b/*/x"),
    ],
)
def test_patterns_that_share_a_path(first: str, second: str) -> None:
    assert overlap(first, second)
    assert overlap(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a/b", "/a/c"),
        ("/a/b", "/a/bc"),
        ("/var/log/httpd/web-access_log*", "/var/log/httpd/rotated/web-access_log*"),
        ("/var/log/*", "/var/log/a/b"),
        ("/var/log/?", "/var/log//"),
        ("/var/log/**/*.log", "/var/logs/app.log"),
        ("/l/[a-c]x", "/l/[d-f]x"),
        ("/l/[!a-z]", "/l/q"),
        ("/l/{a,b}.log", "/l/c*"),
        ("/l/a\\*", "/l/ab"),
        ("/l/[!x]y", "/l//y"),
    ],
)
def test_patterns_that_share_none(first: str, second: str) -> None:
    assert not overlap(first, second)
    assert not overlap(second, first)


def test_many_wildcards_take_bounded_time() -> None:
    assert not overlap("/" + "*a" * 100 + "x", "/" + "*b" * 100 + "y")
    assert overlap("/" + "{a,b}" * 100, "/" + "{b,a}" * 100)
    assert overlap("/**" * 100 + "/x", "/a" * 100 + "/x")
