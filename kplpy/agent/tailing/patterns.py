"""FilePattern: the files that a glob with directory globs and `**` matches, looked up with few system calls."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from kplpy.errors import ConfigError

IGNORED_ENDINGS = (".gz", ".bz2", ".zip")
_GLOB_CHARACTERS = frozenset("*?[{")
COARSE_CLOCK_S = 1.1
"""Seconds for which a directory is listed again after a change: some file systems count its time in whole seconds."""
SCAN_SHARE = 20
"""A directory is listed again after at least this many times as long as the last listing took."""


@dataclass(slots=True)
class Entry:
    """A path that the pattern matches.

    number: the inode as the directory lists it, which is a hint only: another file system may be mounted there.
    """

    path: str
    number: int
    is_link: bool


@dataclass(slots=True)
class _Directory:
    """One directory on the way to the files.

    states: indices of the components of the pattern that its entries may match.
    """

    path: str
    states: frozenset[int]
    changed_ns: int = -1
    files: dict[str, Entry] = field(default_factory=dict)
    children: dict[str, frozenset[int]] = field(default_factory=dict)
    look_again_at: float | None = None
    not_before: float = 0.0


@dataclass(slots=True)
class Changes:
    """What a look at the directories found: entries that are new or another inode, and paths that are gone."""

    found: list[Entry] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class FilePattern:
    """A glob of files; `*`, `?`, `[…]` and `{…}` match within a name, `**` any number of directories, or none.

    A leading dot is matched like any character, as the Kinesis Agent does. Compressed files (.gz, .bz2, .zip) are never
    matched. A symbolic link to a file is followed, and one to a directory unless `**` would match it.
    """

    def __init__(self, pattern: str) -> None:
        """Raise ConfigError if the pattern is not absolute, or a bracket or brace in it is not closed."""
        if not os.path.isabs(pattern):
            raise ConfigError(f"filePattern {pattern!r}: must be an absolute path")
        if pattern.endswith("/"):
            raise ConfigError(f"filePattern {pattern!r}: must end with the pattern of a file's name, not with a slash")
        self.pattern = pattern
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        fixed = 0
        while fixed < len(parts) - 1 and not _GLOB_CHARACTERS.intersection(parts[fixed]) and "\\" not in parts[fixed]:
            fixed += 1
        self.root = "/" + "/".join(parts[:fixed])
        # None: any number of directories
        self._parts: list[re.Pattern[str] | None] = [
            None if part == "**" else re.compile(translate_glob(part, pattern), re.DOTALL) for part in parts[fixed:]
        ]
        if self._parts[-1] is None:  # all files below
            self._parts.append(re.compile(".*", re.DOTALL))
        self._directories: dict[str, _Directory] = {self.root: _Directory(self.root, self._closure([0]))}
        self.errors: dict[str, OSError] = {}

    def refresh(self, now: float, *, everything: bool = False) -> Changes:
        """Look at the directories that changed, or at all of them, and return what differs from the last look.

        now: seconds of the caller's clock. errors holds the directories that could not be listed; their files stay.
        """
        changes = Changes()
        pending = list(self._directories.values())
        while pending:
            directory = pending.pop()
            if directory.path in self._directories and self._is_due(directory, now, everything):
                pending.extend(self._list(directory, now, changes))
        return changes

    def look_again(self, path: str) -> None:
        """Have a path that was found, and could not be looked at, found again at the next look at everything."""
        directory = self._directories.get(os.path.dirname(path))
        if directory is not None:
            directory.files.pop(os.path.basename(path), None)

    def matches(self, path: str) -> bool:
        """Return True if a file of this path would be matched."""
        if path.lower().endswith(IGNORED_ENDINGS):
            return False
        prefix = self.root.rstrip("/") + "/"
        if not path.startswith(prefix):
            return False
        *directories, name = path[len(prefix) :].split("/")
        states = self._closure([0])
        for part in directories:
            states = self._below(states, part)
        return self._matches_file(states, name)

    def _is_due(self, directory: _Directory, now: float, everything: bool) -> bool:
        if now < directory.not_before and not everything:
            return False
        try:
            changed_ns = os.stat(directory.path).st_mtime_ns
        except OSError:
            changed_ns = -2  # the listing finds out more
        if changed_ns != directory.changed_ns:
            directory.changed_ns = changed_ns
            directory.look_again_at = now + COARSE_CLOCK_S
            return True
        if directory.look_again_at is not None and now >= directory.look_again_at:
            directory.look_again_at = None
            return True
        return everything

    def _list(self, directory: _Directory, now: float, changes: Changes) -> Iterator[_Directory]:
        """List the directory, note what changed, and yield the directories below that are new."""
        files: dict[str, Entry] = {}
        children: dict[str, frozenset[int]] = {}
        started = _clock()
        try:
            with os.scandir(directory.path) as entries:
                for entry in entries:
                    self._take(directory, entry, files, children)
        except (FileNotFoundError, NotADirectoryError):
            files, children = {}, {}
        except OSError as error:
            self.errors[directory.path] = error
            return
        self.errors.pop(directory.path, None)
        directory.not_before = now + SCAN_SHARE * (_clock() - started)
        before = directory.files
        changes.found.extend(found for name, found in files.items() if found is not before.get(name))
        changes.gone.extend(before[name].path for name in before.keys() - files.keys())
        for name in directory.children.keys() - children.keys():
            self._forget(os.path.join(directory.path, name), changes)
        directory.files, directory.children = files, children
        for name, states in children.items():
            path = os.path.join(directory.path, name)
            if path not in self._directories:
                self._directories[path] = _Directory(path, states)
                yield self._directories[path]

    def _take(
        self,
        directory: _Directory,
        entry: os.DirEntry[str],
        files: dict[str, Entry],
        children: dict[str, frozenset[int]],
    ) -> None:
        name = entry.name
        known = directory.files.get(name)
        if known is not None and known.number == entry.inode() and not known.is_link:
            files[name] = known
            return
        try:
            if self._matches_file(directory.states, name) and entry.is_file():
                files[name] = Entry(entry.path, entry.inode(), entry.is_symlink())
            elif (below := self._below(directory.states, name, is_link=entry.is_symlink())) and entry.is_dir():
                children[name] = below
        except OSError:  # it vanished meanwhile, or is a link that leads nowhere
            return

    def _forget(self, path: str, changes: Changes) -> None:
        directory = self._directories.pop(path, None)
        if directory is not None:
            changes.gone.extend(entry.path for entry in directory.files.values())
            for name in directory.children:
                self._forget(os.path.join(path, name), changes)

    def _closure(self, states: list[int]) -> frozenset[int]:
        """Add the states behind `**`, which matches the directory itself too."""
        closed = set()
        for state in states:
            closed.add(state)
            while self._parts[state] is None:
                state += 1
                closed.add(state)
        return frozenset(closed)

    def _below(self, states: frozenset[int], name: str, *, is_link: bool = False) -> frozenset[int]:
        last = len(self._parts) - 1
        below = []
        for state in states:
            part = self._parts[state]
            if part is None:
                if not is_link:  # a link could lead up again, without an end
                    below.append(state)
            elif state < last and part.fullmatch(name):
                below.append(state + 1)
        return self._closure(below)

    def _matches_file(self, states: frozenset[int], name: str) -> bool:
        last = len(self._parts) - 1
        part = self._parts[last]
        return (
            last in states
            and part is not None
            and part.fullmatch(name) is not None
            and not name.lower().endswith(IGNORED_ENDINGS)
        )


def translate_glob(glob: str, where: str) -> str:
    """Return the regular expression of a glob on one name, by the rules of Java's PathMatcher."""
    result: list[str] = []
    place, depth = 0, 0
    while place < len(glob):
        character = glob[place]
        place += 1
        if character == "*":
            result.append(".*")
        elif character == "?":
            result.append(".")
        elif character == "\\":
            if place == len(glob):
                raise ConfigError(
                    f"filePattern {where!r}: a backslash must be followed by the character that it quotes"
                )
            result.append(re.escape(glob[place]))
            place += 1
        elif character == "[":
            end = glob.find("]", place + (2 if glob[place : place + 1] == "!" else 1))
            if end < 0:
                raise ConfigError(f"filePattern {where!r}: a [ must be closed with ] before the next slash")
            inner = glob[place:end]
            negated = inner.startswith("!")
            inner = inner[negated:].replace("\\", "\\\\").replace("^", "\\^").replace("[", "\\[").replace("&&", "&\\&")
            result.append(f"[{'^' if negated else ''}{inner}]")
            place = end + 1
        elif character == "{":
            if depth:
                raise ConfigError(f"filePattern {where!r}: braces must not be nested")
            depth = 1
            result.append("(?:")
        elif character == "}" and depth:
            depth = 0
            result.append(")")
        elif character == "," and depth:
            result.append("|")
        else:
            result.append(re.escape(character))
    if depth:
        raise ConfigError(f"filePattern {where!r}: a {{ must be closed with }} before the next slash")
    return "".join(result)


def _clock() -> float:
    import time

    return time.monotonic()
