"""The state of the agent as one dict, and the lines about it in the log."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from kplpy.agent.configuration.check import counted
from kplpy.agent.flow import Flow
from kplpy.agent.tailing import FileStatus
from kplpy.logs import log

logger = logging.getLogger(__name__)

MAX_FILES = 1000
"""Files of one flow that the status names, those with most bytes behind."""
BEHIND_BYTES, FAR_BEHIND_BYTES = 20 << 20, 40 << 20
"""Bytes behind from which a flow's line is logged as INFO and as WARNING, as by the Kinesis Agent."""


def status_of(flows: Sequence[Flow], started_at: float, outstanding_bytes: int) -> dict[str, Any]:
    """Return the state of all flows. Called on the agent's thread. started_at: Unix time."""
    return {
        "process": os.getpid(),
        "started_at": started_at,
        "at": time.time(),
        "outstanding_bytes": outstanding_bytes,
        "flows": [_with_files(flow) for flow in flows],
    }


def _with_files(flow: Flow) -> dict[str, Any]:
    files = flow.tailer.files()
    shown = sorted(files, key=lambda each: -each.bytes_behind)[:MAX_FILES]
    by_file = [
        {
            "path": each.path,
            "offset": each.offset,
            "read": each.read,
            "size": each.size,
            "bytes_behind": each.bytes_behind,
        }
        for each in shown
    ]
    return {**_totals(flow, files), "by_file": by_file}


def _totals(flow: Flow, files: Sequence[FileStatus]) -> dict[str, Any]:
    counters, counts = flow.tailer.counters, flow.counts
    skipped, unprocessed, example = flow.skipped()
    return {
        "flow": flow.settings.id,
        "destination": flow.settings.destination,
        "stream": flow.settings.stream,
        "files": len(files),
        "bytes_behind": sum(each.bytes_behind for each in files),
        "parsed": counts.parsed,
        "skipped": skipped,
        "skipped_example": example,
        "unprocessed": unprocessed,
        "cut": counts.cut,
        "sent": counts.sent,
        "sent_bytes": counts.sent_bytes,
        "failed": counts.failed,
        "last_error": flow.last_error,
        "dropped": counts.dropped,
        "dropped_example": flow.dropped_example,
        "outstanding": flow.outstanding,
        "truncated_files": counters.truncated,
        "lost_bytes": counters.lost_bytes,
        "vanished_files": counters.vanished,
        "unreadable_files": counters.unreadable,
    }


def log_status(flows: Sequence[Flow]) -> None:
    """Log one line for each flow, and another one for a flow that is far behind."""
    for flow in flows:
        state = _totals(flow, flow.tailer.files())
        names = ("flow", "files", "parsed", "skipped", "sent", "failed", "dropped", "outstanding", "bytes_behind")
        log(logger, "agent_status", {name: state[name] for name in names})
        behind = state["bytes_behind"]
        if behind >= BEHIND_BYTES:
            fields = {"flow": state["flow"], "bytes": behind, "files": state["files"]}
            log(logger, "agent_far_behind" if behind >= FAR_BEHIND_BYTES else "agent_behind", fields)


def lines_of(status: dict[str, Any]) -> list[str]:
    """Return the state as text, as `kplpy agent status` prints it."""
    seconds = max(0.0, status["at"] - status["started_at"])
    flows, outstanding = counted(len(status["flows"]), "flow"), status["outstanding_bytes"]
    memory = f"{outstanding:,} bytes of memory for outstanding records"
    lines = [f"process {status['process']}: {flows}, running for {seconds:.0f} s, {memory}"]
    for flow in status["flows"]:
        lines.append(f"{flow['flow']}: {counted(flow['files'], 'file')}, {flow['bytes_behind']:,} bytes behind")
        lines.append(
            f"  records: {flow['parsed']:,} parsed, {flow['skipped']:,} skipped, {flow['unprocessed']:,} sent "
            f"unprocessed, {flow['cut']:,} cut, {flow['sent']:,} sent ({flow['sent_bytes']:,} bytes), "
            f"{flow['outstanding']:,} outstanding, {flow['failed']:,} failed and sent again, "
            f"{flow['dropped']:,} dropped"
        )
        for name, what in (("skipped_example", "skipped"), ("dropped_example", "dropped"), ("last_error", "failure")):
            if flow[name]:
                lines.append(f"  the latest {what}: {flow[name]}")
        if flow["truncated_files"] or flow["vanished_files"] or flow["unreadable_files"]:
            lines.append(
                f"  files: {flow['truncated_files']:,} truncated ({flow['lost_bytes']:,} bytes lost), "
                f"{flow['vanished_files']:,} vanished, {flow['unreadable_files']:,} attempts to read failed"
            )
        for each in flow["by_file"]:
            lines.append(
                f"  {each['path']}: offset {each['offset']:,} of {each['size']:,}, {each['bytes_behind']:,} behind"
            )
        if flow["files"] > len(flow["by_file"]):
            lines.append(f"  … and {counted(flow['files'] - len(flow['by_file']), 'more file')}")
    return lines
