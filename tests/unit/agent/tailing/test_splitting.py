"""Records of several lines, headers, footers, and lines that are too long."""

from __future__ import annotations

import pytest

from kplpy.agent.processing import translate
from kplpy.agent.tailing.splitting import Lines, MultiLines, RecordBuffer, Splitter


def records(splitter: Splitter, data: bytes, *, header: int = 0, footer: str | None = None) -> list[bytes]:
    pattern = translate(footer, "fileFooterPattern", flags="m") if footer else None
    buffer = RecordBuffer(splitter, 1000, header, pattern)
    found = buffer.feed(data).records
    return found if buffer.is_ended else found + buffer.flush().records


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"one\ntwo\n", [b"one\n", b"two\n"]),
        (b"one\r\n\ntwo", [b"one\r\n", b"\n", b"two"]),
        (b"a\rb\x0bc\x0cd\x85e\n", [b"a\rb\x0bc\x0cd\x85e\n"]),
    ],
)
def test_a_line_keeps_its_newline(data: bytes, expected: list[bytes]) -> None:
    assert records(Lines(), data) == expected


@pytest.mark.parametrize(
    ("pattern", "data", "expected"),
    [
        (
            r"^\d{4}-",
            b"2026-01-01 start\n  at x\n  at y\n2026-01-02 next\nrest\n2026-01-03 last\n",
            [b"2026-01-01 start\n  at x\n  at y\n", b"2026-01-02 next\nrest\n", b"2026-01-03 last\n"],
        ),
        ("^A", b"x before\ny before\nA 1\nz\n", [b"x before\ny before\n", b"A 1\nz\n"]),
        (r"^\{", b'{\n  "a": {\n  }\n}\n{\n}\n', [b'{\n  "a": {\n  }\n}\n', b"{\n}\n"]),
    ],
)
def test_a_record_of_lines_ends_where_the_next_starts(pattern: str, data: bytes, expected: list[bytes]) -> None:
    assert records(MultiLines(translate(pattern, "multiLineStartPattern")), data) == expected


def test_header_lines_are_skipped() -> None:
    assert records(Lines(), b"h1\nh2\nbody\n", header=2) == [b"body\n"]


def test_a_footer_is_not_sent_and_ends_the_file() -> None:
    data = b"a\nb\n  -- end --\r\nafter\n"
    assert records(Lines(), data, footer="^-- end --$") == [b"a\n", b"b\n"]
    assert records(Lines(), data, footer="^-- en$") == [b"a\n", b"b\n", b"  -- end --\r\n", b"after\n"]


@pytest.mark.parametrize("splitter", [Lines(), MultiLines(translate("^A", "multiLineStartPattern"))])
def test_a_line_without_an_end_needs_little_memory(splitter: Splitter) -> None:
    buffer = RecordBuffer(splitter, 1000)
    for _ in range(1000):
        assert not buffer.feed(b"x" * 5000).records
    found = buffer.feed(b"x\nA\nA\n")
    assert found.records[0] == b"x" * 1000
    assert found.ends(0)[0] == 5_000_002
    assert buffer.cut == 1
