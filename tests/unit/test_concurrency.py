"""How kplpy finds out what the Python is that runs it."""

from __future__ import annotations

import sysconfig

from kplpy.concurrency import has_gil


def test_a_free_threaded_build_counts_as_without_a_gil() -> None:
    assert has_gil() is not bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
