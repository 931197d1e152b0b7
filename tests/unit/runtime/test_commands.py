"""Commands: each is done once, whatever interrupts the thread that does it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from kplpy.runtime.commands import Command, Commands


def test_a_command_is_done_once_and_has_its_result_or_error() -> None:
    done: list[int] = []
    commands = Commands()
    good: Command[None] = Command(lambda: done.append(1))
    bad: Command[float] = Command(lambda: 1 / 0)
    commands.add(good)
    commands.add(bad)
    commands.run()
    commands.run()
    good.run()
    assert done == [1]
    assert good.is_done
    assert good.outcome() is None
    assert bad.is_done
    with pytest.raises(ZeroDivisionError):
        bad.outcome()


def test_a_command_that_is_being_done_is_not_begun_again() -> None:
    done: list[int] = []
    commands = Commands()

    def work() -> None:
        commands.run()  # as another thread would at this moment
        assert not command.is_done
        done.append(1)

    command = Command(work)
    commands.add(command)
    commands.run()
    assert done == [1]
    assert command.outcome() is None


@pytest.mark.parametrize("event", ["c_call", "c_return"])
@pytest.mark.parametrize("called", ["append", "list", "remove"])
def test_no_command_is_lost_by_an_error_around_it(called: str, event: str) -> None:
    def interrupt(frame: FrameType, at: str, function: Any) -> None:
        if at == event and function.__name__ == called and frame.f_code.co_filename.endswith("commands.py"):
            sys.setprofile(None)
            raise MemoryError("out of memory")

    commands = Commands()
    command = Command(lambda: 7)
    commands.add(command)
    sys.setprofile(interrupt)
    try:
        commands.run()
    except MemoryError:
        commands.run()
    finally:
        sys.setprofile(None)
    if (called, event) == ("append", "c_return"):  # it had begun: its caller gets the error
        with pytest.raises(MemoryError):
            command.outcome()
    else:
        assert command.is_done
        assert command.outcome() == 7
