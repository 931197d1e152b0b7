"""The parts in a spool's directory: takes over those of dead processes, and lists all of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kplpy.errors import SpoolError
from kplpy.spool import lock
from kplpy.spool.part import SUFFIX, Part, lock_of


class FoundPart(NamedTuple):
    """A part in the directory.

    holder: the process that uses it; None if its process is gone.
    """

    path: Path
    holder: int | None


def adopt_dead(directory: Path, unreadable: list[SpoolError] | None = None) -> list[Part]:
    """Take over the parts of dead processes, and return them, the oldest first.

    Each part goes to exactly one of several processes that start at once. A missing directory has no parts.

    unreadable: gets the error of each part that cannot be opened, which is left as it is. None: the first error is
    raised, with no part taken over.
    """
    parts: list[Part] = []
    # A process that is killed while it makes or removes a part leaves only its lock file, which adopt() removes.
    locks = {each.with_suffix(SUFFIX) for each in directory.glob("*.lock")}
    for path in sorted({found.path for found in list_parts(directory)} | locks):
        try:
            part = Part.adopt(path)
        except SpoolError as error:
            if unreadable is None:
                for each in parts:
                    each.close()
                raise
            unreadable.append(error)
            continue
        if part is not None:
            parts.append(part)
    return sorted(parts, key=_oldest)


def list_parts(directory: Path) -> list[FoundPart]:
    """Return the parts in the directory, without changing anything.

    Raises SpoolError if the directory cannot be read.
    """
    try:
        paths = sorted(directory.glob(f"*{SUFFIX}"))
    except OSError as error:
        raise SpoolError(f"{directory}: {error.strerror or error}") from error
    return [FoundPart(path, lock.holder(lock_of(path))) for path in paths]


def _oldest(part: Part) -> float:
    return min([each.oldest for each in part.streams().values()], default=0.0)
