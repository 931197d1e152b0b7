"""`kplpy agent`: sends log files to streams, as the Kinesis Agent's agent.json says."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from kplpy.cli.progress import LogLines, say
from kplpy.errors import ConfigError, KplpyError
from kplpy.escaping import escape_controls

if TYPE_CHECKING:
    from kplpy.agent import Agent

CONFIGURATIONS = ("/etc/kplpy/agent.json", "/etc/aws-kinesis/agent.json")
"""Where the configuration is without -c: the first that exists."""
MOST_FILES = 65_536
"""Soft limit of open files that the agent asks for."""

_configuration = click.option(
    "-c",
    "--configuration",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"The agent.json.  [default: {CONFIGURATIONS[0]}, or {CONFIGURATIONS[1]} if that is missing]",
)


@click.group(invoke_without_command=True)
@_configuration
@click.option("--check", is_flag=True, help="Explain the configuration and the files it matches, and end.")
@click.option("--strict", is_flag=True, help="With --check: warnings are errors.")
@click.option("--once", is_flag=True, help="Send what is in the files now, and end.")
@click.option("-q", "--quiet", is_flag=True, help="Log only warnings and errors.")
@click.pass_context
def agent(
    context: click.Context, configuration: Path | None, check: bool, strict: bool, once: bool, quiet: bool
) -> None:
    """Follow log files and send their records to Kinesis streams and Firehose delivery streams.

    The configuration is that of the Amazon Kinesis Agent, with some more keys. The agent runs until SIGTERM or Ctrl-C,
    and then delivers what it has read. SIGHUP reads the configuration again.
    """
    if context.invoked_subcommand is not None:
        context.obj = configuration
        return
    if check and once:
        raise click.UsageError("--check and --once contradict each other: give one of them")
    if strict and not check:
        raise click.UsageError("--strict needs --check")
    path = _path_of(configuration)
    if check:
        from kplpy.agent.configuration.check import check_file

        explanation = check_file(path, now=time.time(), strict=strict)
        click.echo(escape_lines(explanation.text), nl=False)
        context.exit(explanation.exit_code)
    from kplpy.agent import Agent

    _log_to_standard_error(quiet)
    running = Agent(path)
    _spare_the_collector()
    _allow_open_files()
    context.exit(_once(running) if once else _run(running, path))


@agent.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each agent.")
@click.option("--socket", "socket_path", metavar="PATH", help="Path of the socket, statusSocket of the agent.json.")
@_configuration
@click.pass_obj
def status(outer: Path | None, as_json: bool, socket_path: str | None, configuration: Path | None) -> None:
    """Print the state of the running agents of a configuration: each flow, its files, and what was sent.

    For each file it has the offset below which all was accepted, the size, and the bytes between the two.
    """
    from kplpy.agent.status import lines_of
    from kplpy.cli.top import read_producers

    if socket_path is None:
        from kplpy.agent.configuration import load

        socket_path = load(_path_of(configuration or outer)).status_socket
    found = read_producers(socket_path)
    if not found:
        raise click.ClickException(
            f"no agent runs with the statusSocket {socket_path}, or it is another user's: ask as that user or as root"
        )
    for each in found.values():
        if as_json:
            click.echo(json.dumps(each))
        else:
            click.echo("\n".join(map(escape_controls, lines_of(each))))


def _path_of(given: Path | None) -> Path:
    if given is not None:
        return given
    for each in CONFIGURATIONS:
        if os.path.exists(each):
            return Path(each)
    raise click.ClickException(f"there is no {' and no '.join(CONFIGURATIONS)}: give -c FILE")


def escape_lines(text: str) -> str:
    """Return text with control characters escaped, except line ends."""
    return "\n".join(map(escape_controls, text.split("\n")))


def _log_to_standard_error(quiet: bool) -> None:
    logger = logging.getLogger("kplpy")
    level = logging.WARNING if quiet else logging.INFO
    logger.setLevel(level)
    logger.addHandler(LogLines(level, with_time=True))
    logger.propagate = False
    # The agent says itself how many records it leaves to the next one.
    logging.getLogger("kplpy.producer").setLevel(logging.CRITICAL)


def _spare_the_collector() -> None:
    """Have the garbage collector leave out what stays to the end: the modules.

    Tens of thousands of records outstanding would make it look at all objects again and again, for 15 % of the CPU of
    a line (500,000 lines of 104 B, aggregated).
    """
    import boto3  # noqa: F401  # the first request imports it

    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)


def _allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one, because each file of a flow is kept open."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Signals:
    """Turns signals into events for the main thread. The second SIGTERM or SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.number = 0
        self.is_reload_wanted = False
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._reload)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            os._exit(128 + number)
        self.number = number
        self.event.set()

    def _reload(self, number: int, frame: FrameType | None) -> None:
        self.is_reload_wanted = True
        self.event.set()


def _run(running: Agent, path: Path) -> int:
    """Run until a signal. Return the exit code: 0, or 1 if the agent ended by itself."""
    signals = _Signals()
    running.start()
    while running.is_running:
        signals.event.wait(1.0)
        signals.event.clear()
        if signals.number:
            running.stop()
            return 0
        if signals.is_reload_wanted:
            signals.is_reload_wanted = False
            _reload(running, path)
    return 1


def _reload(running: Agent, path: Path) -> None:
    from kplpy.logs import log

    try:
        running.reload(path)
    except (ConfigError, KplpyError) as error:
        log(logging.getLogger(__name__), "agent_not_reloaded", {"reason": str(error)})


def _once(running: Agent) -> int:
    """Send what is there. Return the exit code: 0, or 128 and the signal's number."""
    signals = _Signals()
    thread = threading.Thread(target=_stop_at, args=(signals, running), daemon=True)
    thread.start()
    is_delivered = running.run_once()
    if signals.number:
        return 128 + signals.number
    if not is_delivered:
        say("not all was delivered")
    return 0 if is_delivered else 1


def _stop_at(signals: _Signals, running: Agent) -> None:
    while not signals.number:
        signals.event.wait()
        signals.event.clear()
    running.stop()
