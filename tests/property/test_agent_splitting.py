"""Splitting of a file into records: the same whatever the blocks it is read in."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kplpy.agent.tailing.splitting import Lines, MultiLines, RecordBuffer, Splitter

PIECES = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"A", b"x", b"yy\n", b"A b\n", b"END\n", b"z" * 9, b"\xff"]), max_size=30
)
SPLITTERS = st.one_of(
    st.just(Lines()),
    st.integers(1, 60).map(lambda matched: MultiLines(re.compile("A"), matched_bytes=matched)),
)
LIMITS = st.sampled_from([1, 3, 7, 1000])
FOOTERS = st.none() | st.just(re.compile("END"))


def split(
    splitter: Splitter, blocks: list[bytes], limit: int, header: int, footer: re.Pattern[str] | None
) -> tuple[list[tuple[bytes, int]], int, int]:
    """Return the records with the offsets behind them, how much was consumed, and how many records were cut."""
    buffer = RecordBuffer(splitter, limit, header, footer)
    offset = 0
    records: list[tuple[bytes, int]] = []
    for block in [*blocks, None]:
        if buffer.is_ended:
            break
        found = buffer.feed(block) if block is not None else buffer.flush()
        records += zip(found.records, found.ends(offset), strict=True)
        offset += found.consumed
    return records, offset, buffer.cut


@given(PIECES, SPLITTERS, LIMITS, st.integers(0, 3), FOOTERS, st.data())
def test_records_are_the_same_at_every_border(
    pieces: list[bytes],
    splitter: Splitter,
    limit: int,
    header: int,
    footer: re.Pattern[str] | None,
    draw: st.DataObject,
) -> None:
    data = b"".join(pieces)
    borders = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    blocks = [data[start:end] for start, end in zip([0, *borders], [*borders, len(data)], strict=True)]
    assert split(splitter, blocks, limit, header, footer) == split(splitter, [data], limit, header, footer)


@given(PIECES, SPLITTERS, LIMITS)
def test_nothing_is_left_out(pieces: list[bytes], splitter: Splitter, limit: int) -> None:
    data = b"".join(pieces)
    records, end, cut = split(splitter, [data], limit, 0, None)
    assert end == len(data)
    ends = [end for _, end in records]
    whole = [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=bool(ends))]
    assert [record for record, _ in records] == [each[:limit] for each in whole]
    assert cut == sum(len(each) > limit for each in whole)


@given(PIECES)
def test_lines_end_at_newlines_alone(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    records, _, _ = split(Lines(), [data], 1000, 0, None)
    assert [record for record, _ in records] == re.findall(rb"[^\n]*\n|[^\n]+", data)
