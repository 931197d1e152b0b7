"""Which code runs: KPLPY_ACCELERATOR, interpreters that must not load the extension, and what kplpy says about it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib import import_module

import pytest

import kplpy
from kplpy import accelerator

IS_FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
REPORT = "import kplpy; from kplpy import accelerator; print(kplpy.__accelerated__, accelerator.describe())"


def run(program: str, choice: str | None = None) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if name != accelerator.VARIABLE}
    if choice is not None:
        environment[accelerator.VARIABLE] = choice
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip(), done.stderr.strip().splitlines()[-1] if done.stderr else ""


def test_no_chooses_python() -> None:
    assert run(REPORT, "no") == (0, "False off (KPLPY_ACCELERATOR=no)", "")


def test_another_value_is_refused() -> None:
    code, _, error = run(REPORT, "yes")
    assert (code, error) == (1, "ImportError: KPLPY_ACCELERATOR must be auto, no or must, got 'yes'")


@pytest.mark.parametrize("choice", [None, "", "auto"])
def test_the_extension_is_loaded_where_it_can_be(choice: str | None) -> None:
    code, text, _ = run(REPORT, choice)
    assert code == 0
    if accelerator.accelerated:
        assert text.startswith("True on (")
    elif os.environ.get(accelerator.VARIABLE) != "no":
        assert text.startswith("False off (")


FREE_THREADED = "import sys; sys.abiflags = 't'; "


def test_a_free_threaded_python_does_not_load_it() -> None:
    reason = "it needs the GIL, and this Python is free-threaded"
    assert run(FREE_THREADED + REPORT) == (0, f"False off ({reason})", "")
    error = f"ImportError: KPLPY_ACCELERATOR=must, and the accelerator cannot be loaded: {reason}"
    assert run(FREE_THREADED + REPORT, "must") == (1, "", error)


def test_another_implementation_of_python_does_not_load_it() -> None:
    other = "import sys, types; sys.implementation.name = 'pypy'; "
    assert run(other + REPORT) == (0, "False off (it is for CPython, and this is pypy)", "")


@pytest.mark.skipif(IS_FREE_THREADED, reason="no extension is looked for")
def test_an_extension_of_other_sources_is_not_loaded() -> None:
    other = "import sys, types; made = types.ModuleType('native'); made.INTERFACE = 0; "
    other += "sys.modules['kplpy.accelerator.native'] = made; import kplpy.accelerator; "
    assert run(other + REPORT)[1].startswith("False off (it was compiled from other sources")


@pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")
def test_it_serves_the_first_import_of_a_process() -> None:
    again = "import sys, kplpy; kplpy.__accelerated__; "
    again += "[sys.modules.pop(each) for each in [*sys.modules] if each.startswith('kplpy')]; "
    assert run(again + REPORT)[1] == "False off (kplpy was imported before in this process, and imported again)"


@pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")
def test_a_subinterpreter_runs_in_python() -> None:
    inner = f"import sys; sys.path[:] = {sys.path!r}; {REPORT}"
    program = (
        "from kplpy import accelerator\n"
        "try:\n    import _interpreters as them\nexcept ImportError:\n    import _xxsubinterpreters as them\n"
        f"run = them.exec if hasattr(them, 'exec') else them.run_string\nrun(them.create(), {inner!r})\n"
    )
    code, text, error = run(program)
    assert code == 0, error
    assert text.startswith("False off (")
    assert "interpreter" in text


def test_the_public_names_say_which_code_runs() -> None:
    assert kplpy.__accelerated__ is accelerator.accelerated
    assert bool(accelerator.reason) is not kplpy.__accelerated__


def test_each_twin_has_its_compiled_code() -> None:
    import_module("kplpy.producer")  # its modules name their twins
    for name, twin in accelerator.twins.items():
        assert twin.__module__.startswith("kplpy.")
        if accelerator.native is not None:
            assert hasattr(accelerator.native, name)
