"""Work: the agent's flows in turns, and what they share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kplpy import ConfigError
from kplpy.agent.flow import Budget, Flow
from kplpy.agent.metric_sinks import check_sink
from kplpy.agent.metrics import AgentMetrics
from kplpy.agent.sending import Sending
from kplpy.agent.settings import AgentSettings, FlowSettings
from kplpy.agent.status import log_status, status_of
from kplpy.agent.tailing import Checkpoints, Descriptors
from kplpy.errors import CheckpointError
from kplpy.logs import log
from kplpy.metrics.sample import Sink
from kplpy.metrics.stats_socket import StatsSocket
from kplpy.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

NEVER = float("inf")

COMMIT_S = 0.1
"""Shortest time between two commits of checkpoints."""
FULL_S = 0.01
"""Shortest pause of the loop while a flow has its share of memory outstanding."""
BUSY_S = 0.05
"""Longest time of reading before outcomes are looked at again."""
OUTSTANDING_S = 0.05
"""Longest pause of the loop while records are outstanding."""
REST_S = 1.0
"""Pause of a flow after an error within kplpy."""


@dataclass(slots=True)
class _Leaving:
    """A flow that reads no more, and whose records are still outstanding.

    until: when it is closed in any case, in time.monotonic() seconds.
    successor: the flow that reads its files after it, from what was accepted on, so that nothing is sent twice. The
        flow then has all the time that it needs.
    """

    flow: Flow
    until: float
    successor: FlowSettings | None


class Work:
    """The flows and what they share. Made, used and closed on the agent's thread."""

    def __init__(self, settings: AgentSettings, metrics_sink: Sink | None, snapshot: Callable[[], bytes]) -> None:
        self.settings = settings
        self.started_at = time.time()
        self._errors = RateLimitedLog(logger, "internal_errors")
        self._commit_errors = RateLimitedLog(logger, "agent_checkpoints_not_written")
        self.budget = Budget()
        self.sending = Sending(settings)
        self._descriptors = Descriptors(settings.max_open_files)
        self._checkpoints = Checkpoints(
            settings.checkpoint_file, settings.imported_checkpoints, settings.checkpoint_ttl_days
        )
        self.flows: list[Flow] = []
        self._leaving: list[_Leaving] = []
        self._commit_at = 0.0
        self._is_dirty = False  # positions may have changed since the last commit
        try:
            self.flows += self._make_flows(settings.flows)
            self.metrics = AgentMetrics(settings, self.sending.config, metrics_sink)
            self._socket = StatsSocket(settings.status_socket, snapshot) if settings.status_socket else None
        except BaseException:
            self._end_parts()
            raise
        if self._socket is not None:
            self._socket.start()
        now = time.monotonic()
        self._status_at = now + (settings.status_period_s or NEVER)
        self._metrics_at = now + settings.metrics_upload_delay_ms / 1000
        for each in settings.warnings:
            log(logger, "agent_configuration", {"warning": each})
        log(logger, "agent_started", {"flows": len(self.flows), "checkpoints": settings.checkpoint_file})

    def _make_flows(self, settings: Iterable[FlowSettings]) -> list[Flow]:
        """Make flows, all or none."""
        made: list[Flow] = []
        try:
            for each in settings:
                made.append(Flow(each, self.sending, self._checkpoints, self._descriptors, self.budget))
        except BaseException:
            for flow in made:
                flow.close()
            raise
        return made

    @property
    def all_flows(self) -> list[Flow]:
        """The flows, and those that a new configuration ended and that still have records outstanding."""
        return [*self.flows, *(each.flow for each in self._leaving)]

    def status(self) -> dict[str, Any]:
        """Return the state of all flows."""
        return status_of(self.all_flows, self.started_at, self.budget.used)

    # --- one turn ---

    def turn(self, now: float) -> float:
        """Look for files, outcomes and records. Return the seconds until the next turn."""
        self.settle(now)
        for flow in self.flows:
            if now >= flow.poll_at:
                self._is_dirty = True
                try:
                    flow.poll_at = flow.tailer.poll(now)
                except Exception as error:
                    self._rest(flow, now, error)
        is_full, has_more = self._read(now)
        self._leave(now)
        self.sending.close_retired(now)
        self._report(now)
        if has_more:
            return 0.0
        pauses = [max(0.0, flow.poll_at - now) for flow in self.flows]
        # those that were due wait for the outcomes of others
        pauses += [at - now for flow in self.all_flows if (at := flow.retries_at) is not None and at > now]
        if self.budget.used:
            pauses.append(OUTSTANDING_S)
        pauses += [max(0.0, self._status_at - now), max(0.0, self._metrics_at - now)]
        if self._is_dirty:
            pauses.append(COMMIT_S)
        pause = min(pauses, default=1.0)
        # A full flow's tailer wants to be called at once, because its file has more.
        return max(pause, FULL_S) if is_full else pause

    def settle(self, now: float) -> None:
        """Take the outcomes, put failed records again, and commit what was accepted."""
        for flow in self.all_flows:
            if flow.has_parts and now >= flow.rests_until:
                try:
                    self._is_dirty = flow.settle(now) or self._is_dirty
                    flow.put_failed(now)
                except Exception as error:
                    self._rest(flow, now, error)
        if now >= self._commit_at:
            self.commit(now)

    def commit(self, now: float) -> bool:
        """Write the positions. A failure is logged: records are not lost by that, but may be sent again."""
        self._commit_at = now + COMMIT_S
        self._is_dirty = False
        try:
            self._checkpoints.commit()
        except CheckpointError as error:
            self._commit_at = now + REST_S
            self._commit_errors.say(str(error))
            return False
        return True

    def _read(self, now: float) -> tuple[bool, bool]:
        """Read from the flows in turn. Return (True if a flow is full, True if there is more to read now)."""
        until = time.monotonic() + BUSY_S
        waiting = list(self.flows)
        is_full = False
        while waiting:
            left = []
            for flow in waiting:
                if now < flow.rests_until:
                    continue
                try:
                    if not flow.may_read(now):
                        is_full = True
                    elif flow.read():
                        left.append(flow)
                except Exception as error:
                    self._rest(flow, now, error)
            waiting = left
            if waiting and time.monotonic() >= until:
                return is_full, True
        return is_full, False

    def _leave(self, now: float) -> None:
        """Close flows that were ended, when they are empty or their time is over, and begin their successors."""
        for each in list(self._leaving):
            if each.flow.has_parts and (each.successor is not None or now < each.until):
                continue
            if each.successor is not None and not self.commit(now):  # the successor begins at what is written
                continue
            self._leaving.remove(each)
            each.flow.close()
            if each.successor is not None:
                self.flows += self._make_flows([each.successor])

    def _report(self, now: float) -> None:
        if now >= self._status_at:
            self._status_at = now + (self.settings.status_period_s or NEVER)
            log_status(self.flows)
        if now >= self._metrics_at:
            self._metrics_at = now + self.settings.metrics_upload_delay_ms / 1000
            self.metrics.emit(self.flows, self.sending.totals())

    def _rest(self, flow: Flow, now: float, error: Exception) -> None:
        """Report an error within kplpy, and let the flow rest. Nothing of it is passed over, and the others go on."""
        flow.poll_at = flow.rests_until = now + REST_S
        if isinstance(error, CheckpointError):
            self._commit_errors.say(str(error))
        else:
            self.raised(error)

    def raised(self, error: BaseException) -> None:
        self._errors.say(f"in the agent: {type(error).__name__}: {error}", error)

    # --- a new configuration ---

    def reload(self, settings: AgentSettings, now: float) -> None:
        """Add, remove and change flows. Raises ConfigError, and changes nothing.

        A flow whose files are to be read in another way ends, and begins again once what it has read is delivered.
        """
        if settings.checkpoint_file != self.settings.checkpoint_file:
            raise ConfigError(
                f"checkpointFile cannot change while the agent runs, from {self.settings.checkpoint_file!r} to "
                f"{settings.checkpoint_file!r}: restart the agent"
            )
        Flow.check(settings.flows)
        check_sink(settings)
        before = {flow.settings.id: flow for flow in self.flows}
        ending = {each.flow.settings.id for each in self._leaving}
        added = self._make_flows([each for each in settings.flows if each.id not in before and each.id not in ending])
        try:
            self.sending.replace(settings, now)
        except BaseException:
            for flow in added:
                flow.close()
            raise
        until = now + settings.shutdown_timeout_ms / 1000
        flows = [before.pop(each.id) for each in settings.flows if each.id in before and before[each.id].reads_as(each)]
        by_id = {each.id: each for each in settings.flows}
        for flow in flows:
            flow.change(by_id[flow.settings.id])
        if before:
            self.sending.flush()
        self._leaving += [_Leaving(flow, until, None) for flow in before.values()]
        for each in self._leaving:
            each.successor = by_id.get(each.flow.settings.id)
        flows += added
        self.flows = flows
        self.settings = settings
        self._leave(now)
        self._status_at = min(self._status_at, now + (settings.status_period_s or NEVER))
        self.metrics.change(settings, self.sending.config)
        for warning in settings.warnings:
            log(logger, "agent_configuration", {"warning": warning})
        log(logger, "agent_reloaded", {"flows": len(settings.flows)})

    # --- the end ---

    def read_to_the_end(self, until: float | None, is_stopping: Callable[[], bool]) -> None:
        """Read and deliver what is there now."""
        for flow in self.flows:
            flow.tailer.poll(time.monotonic())
        finished = False
        while not is_stopping() and (until is None or time.monotonic() < until):
            now = time.monotonic()
            self.settle(now)
            is_full, has_more = self._read(now)
            self._report(now)
            if has_more:
                continue
            if not is_full and all(flow.tailer.at_end() for flow in self.flows):
                if not finished:
                    finished = True
                    for flow in self.flows:
                        flow.tailer.finish()
                    continue
                self.sending.flush()
                if not any(flow.has_parts for flow in self.flows):
                    return
            for flow in self.flows:
                if not flow.tailer.at_end():  # a copy is being compared, or a file could not be opened yet
                    flow.tailer.poll(time.monotonic())
            time.sleep(FULL_S)

    def drain(self, until: float) -> bool:
        """Deliver what was read. Return False if something is left at `until`, in time.monotonic() seconds."""
        self.sending.flush()
        while True:
            now = time.monotonic()
            self.settle(now)
            if not any(flow.has_parts for flow in self.all_flows):
                return True
            if now >= until:
                left = sum(flow.outstanding for flow in self.all_flows)
                log(logger, "agent_stopped_early", {"records": left})
                return False
            time.sleep(FULL_S)

    def close(self) -> None:
        """End the producer, note its last outcomes, and close all files."""
        try:
            self.sending.close()
            for flow in self.all_flows:
                flow.settle_last()
            self.metrics.emit(self.flows, self.sending.totals(), last=True)
            log_status(self.flows)
        finally:
            self._end_parts()
        log(logger, "agent_stopped", {"sent": sum(flow.counts.sent for flow in self.flows)})

    def _end_parts(self) -> None:
        socket = getattr(self, "_socket", None)
        if socket is not None:
            socket.close()
        metrics = getattr(self, "metrics", None)
        if metrics is not None:
            metrics.close()
        self.sending.close()
        for flow in self.all_flows:
            flow.close()
        try:
            self._checkpoints.close()
        except CheckpointError as error:
            self._commit_errors.say(str(error))
        self._commit_errors.close()
        self._errors.close()
