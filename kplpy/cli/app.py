"""The `kplpy` command group, and how it reports errors that no command handles."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

import kplpy
from kplpy import accelerator
from kplpy.escaping import escape_controls

# Each command's module. One that does not run is not imported: it would make all of them slower to start.
_HOMES = {
    "put": "kplpy.cli.put",
    "tail": "kplpy.cli.tail",
    "top": "kplpy.cli.top",
    "spool": "kplpy.cli.spool",
    "agent": "kplpy.cli.agent",
    "local": "kplpy.cli.serve",
    "demo": "kplpy.cli.demo.command",
    "dashboard": "kplpy.cli.dashboard",
    "doctor": "kplpy.cli.doctor",
}


class _Commands(click.Group):
    """Prints kplpy's and botocore's errors as one line, without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        home = _HOMES.get(cmd_name)
        found: click.Command | None = None if home is None else getattr(import_module(home), cmd_name)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        from kplpy.errors import KplpyError

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(err=True)  # end the line on which the terminal shows ^C
            ctx.exit(130)
        except BrokenPipeError:
            _discard_output()
            ctx.exit(0)
        except KplpyError as error:
            raise click.ClickException(escape_controls(str(error))) from error
        except Exception as error:
            if not type(error).__module__.startswith("botocore."):
                raise
            from kplpy.cli.connection import explain

            raise click.ClickException(explain(error)) from error


def _discard_output() -> None:
    """Send output to /dev/null after its reader closed the pipe, so that the interpreter's flush at exit succeeds."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(devnull, stream.fileno())
    os.close(devnull)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(
    kplpy.__version__, prog_name="kplpy", message=f"%(prog)s %(version)s\naccelerator: {accelerator.describe()}"
)
def cli() -> None:
    """Put records on Amazon Kinesis streams, read them back, examine them, or try all of it on this machine."""
