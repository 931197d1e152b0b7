"""The `kplpy` command group, and how it reports errors that no command handles."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

import kplpy
from kplpy.cli.dashboard import dashboard
from kplpy.cli.demo.command import demo
from kplpy.cli.put import put
from kplpy.cli.serve import local
from kplpy.cli.spool import spool
from kplpy.cli.tail import tail
from kplpy.cli.top import top
from kplpy.escaping import escape_controls


class _Commands(click.Group):
    """Prints kplpy's and botocore's errors as one line, without a traceback."""

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
@click.version_option(kplpy.__version__, prog_name="kplpy", message="%(prog)s %(version)s")
def cli() -> None:
    """Put records on Amazon Kinesis streams, read them back, or try both on this machine."""


for _command in (put, tail, top, spool, local, demo, dashboard):
    cli.add_command(_command)
