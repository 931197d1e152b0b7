"""The `kplpy` command: put, tail, top, doctor, local, demo, dashboard. Needs the extra: pip install 'kplpy[cli]'."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the console script.

    kplpy always installs the script, but click and rich only with the extra. Without them it exits with 1 and one line.
    """
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        sys.stderr.write(f"kplpy: the command line needs its extra: pip install 'kplpy[cli]' (missing: {error.name})\n")
        sys.exit(1)
    try:
        from kplpy.cli.app import cli

        cli(prog_name="kplpy")
    except KeyboardInterrupt:  # Ctrl-C before a command handles it
        sys.exit(130)
