"""`python -m kplpy.local`: the command that LocalKinesisProcess starts. Users call `kplpy local` instead."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from kplpy.local.server.options import Options
from kplpy.local.server.process import run


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "--options":
        sys.stderr.write("python -m kplpy.local is started by LocalKinesisProcess; use instead: kplpy local --help\n")
        return 2
    threading.Thread(target=_end_with_parent, name="kplpy-local-parent", daemon=True).start()
    try:
        run(Options.from_json(arguments[1]), _write_ready)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _write_ready(url: str, ca_bundle: str | None, _: object) -> None:
    sys.stdout.write(f"ready: {json.dumps({'url': url, 'ca_bundle': ca_bundle})}\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """End this process when standard input ends, which means that the parent process has ended."""
    while os.read(0, 4096):  # not sys.stdin, because this thread would hold its lock at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
