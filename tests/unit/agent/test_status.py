"""The lines about flows in the log and on a terminal."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from kplpy.agent.flow import Counts, Flow
from kplpy.agent.settings import FlowSettings
from kplpy.agent.status import MAX_FILES, lines_of, log_status, status_of
from kplpy.agent.tailing import Counters, FileStatus

MIB = 1 << 20


class FakeFlow:
    """What the status reads of a flow with these files."""

    def __init__(self, *files: FileStatus) -> None:
        self.settings = FlowSettings("kinesis:orders:/a", "/a", "kinesis", "orders")
        self.counts = Counts(parsed=5, sent=3, sent_bytes=30, failed=1, dropped=1)
        self.tailer: Any = self
        self.counters = Counters(truncated=1, lost_bytes=7)
        self.outstanding = 2
        self.last_error, self.dropped_example = "no such stream", "b'bad'"
        self._files = list(files)

    def files(self) -> list[FileStatus]:
        return self._files

    def skipped(self) -> tuple[int, int, str]:
        return 1, 0, "b'GET'"


def flows(*sizes: int) -> list[Flow]:
    """Return one flow, with a file of each size of which nothing was accepted."""
    return [cast(Flow, FakeFlow(*(FileStatus(f"/a{n}", 0, 0, size, True) for n, size in enumerate(sizes))))]


@pytest.mark.parametrize(
    ("behind", "level"), [(20 * MIB - 1, None), (20 * MIB, logging.INFO), (40 * MIB, logging.WARNING)]
)
def test_bytes_behind_are_logged_as_the_kinesis_agent_does(
    caplog: pytest.LogCaptureFixture, behind: int, level: int | None
) -> None:
    with caplog.at_level(logging.INFO, logger="kplpy"):
        log_status(flows(1, behind - 1))
    (status, *more) = caplog.records
    assert "2 files; records: 5 parsed, 1 skipped, 3 sent, 1 failed and sent again, 1 dropped" in status.getMessage()
    assert [each.levelno for each in more] == ([] if level is None else [level])


def test_the_state_as_text_has_examples_and_each_file() -> None:
    text = "\n".join(lines_of(status_of(flows(10, 20), 1.0, 99)))
    assert ": 1 flow, running for" in text
    assert "99 bytes of memory for outstanding records" in text
    assert "kinesis:orders:/a: 2 files, 30 bytes behind" in text
    assert "the latest skipped: b'GET'" in text
    assert "the latest dropped: b'bad'" in text
    assert "the latest failure: no such stream" in text
    assert "1 truncated (7 bytes lost)" in text
    assert "/a1: offset 0 of 20, 20 behind" in text


def test_of_very_many_files_those_most_behind_are_named() -> None:
    (flow,) = status_of(flows(*range(MAX_FILES + 5)), 1.0, 0)["flows"]
    assert (flow["files"], len(flow["by_file"])) == (MAX_FILES + 5, MAX_FILES)
    assert flow["by_file"][0]["size"] == MAX_FILES + 4
    assert "and 5 more files" in lines_of(status_of(flows(*range(MAX_FILES + 5)), 1.0, 0))[-1]
