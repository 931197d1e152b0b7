"""hatch_build.py: what it needs, and what it says where that is missing."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kplpy import accelerator

ROOT = Path(__file__).parents[3]
needs_a_gil = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="the hook refuses a free-threaded Python before that"
)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    sys.modules.pop("hatch_build", None)
    import hatch_build  # type: ignore[import-not-found,unused-ignore]

    return hatch_build


def in_isolation(hook: Any) -> Any:
    """Return the hook as hatchling makes it, with a warning list in place of hatchling's terminal."""
    made = hook.CustomBuildHook.__new__(hook.CustomBuildHook)
    warnings: list[str] = []
    app = SimpleNamespace(display_warning=warnings.append)
    made.__dict__.update(
        _BuildHookInterface__root=str(ROOT), _BuildHookInterface__app=app, _BuildHookInterface__target_name="wheel"
    )
    return made, warnings


@pytest.mark.skipif(not accelerator.accelerated, reason="the accelerator is off")
def test_the_loaded_extension_is_of_these_sources(hook: Any) -> None:
    """Otherwise run `python hatch_build.py`."""
    assert hook.digest(ROOT) == accelerator.native.SOURCES


@needs_a_gil
def test_without_a_compiler_the_wheel_is_pure_and_says_why(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    monkeypatch.delenv("KPLPY_ACCELERATOR", raising=False)
    made, warnings = in_isolation(hook)
    data: dict[str, Any] = {"force_include": {}}
    made.initialize("standard", data)
    assert made.dependencies() == []  # Cython is not installed in vain
    [warning] = warnings
    assert warning.startswith("kplpy will run in pure Python: no C compiler: ")
    [(written, place)] = data["force_include"].items()
    assert place == "kplpy/accelerator/not_built.txt"
    assert Path(written).read_text() == warning.removeprefix("kplpy will run in pure Python: ") + "\n"
    assert "tag" not in data


def test_no_makes_a_pure_wheel(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPLPY_ACCELERATOR", "no")
    made, warnings = in_isolation(hook)
    data: dict[str, Any] = {"force_include": {}}
    made.initialize("standard", data)
    assert made.dependencies() == []
    assert warnings == ["kplpy will run in pure Python: KPLPY_ACCELERATOR=no when it was installed"]


@needs_a_gil
def test_must_makes_a_failure_an_error(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/bin/false")
    monkeypatch.setenv("KPLPY_ACCELERATOR", "must")
    with pytest.raises(RuntimeError, match=r"cannot be compiled: /bin/false failed"):
        in_isolation(hook)[0].initialize("standard", {"force_include": {}})
