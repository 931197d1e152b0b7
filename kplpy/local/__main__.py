"""`python -m kplpy.local`: what LocalKinesisProcess starts. People use `kplpy local`, which has options and help."""

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
        sys.stderr.write("python -m kplpy.local is for LocalKinesisProcess; use: kplpy local --help\n")
        return 2
    threading.Thread(target=_follow_parent, name="kplpy-local-parent", daemon=True).start()
    try:
        run(Options.from_json(arguments[1]), _ready)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _ready(url: str, ca_bundle: str | None, _: object) -> None:
    sys.stdout.write(f"ready: {json.dumps({'url': url, 'ca_bundle': ca_bundle})}\n")
    sys.stdout.flush()


def _follow_parent() -> None:
    """End when standard input does: the parent holds its other end, and is gone."""
    while os.read(0, 4096):  # not sys.stdin, whose lock would be held at exit
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
