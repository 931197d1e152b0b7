"""Contents: the contents that a flow knows, looked up for a file that may be a copy of one, or one that moved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from kplpy.agent.tailing.checkpoints import State
from kplpy.agent.tailing.file import TailedFile
from kplpy.agent.tailing.identity import HEAD_BYTES, Key, digest, is_below, is_rotated_name
from kplpy.agent.tailing.patterns import IGNORED_ENDINGS

MOST_BY_NAME = 20
"""Most contents of one name that a new file is compared with."""
_K = TypeVar("_K")
MOST_ENTRIES = 20_000
"""Most directory entries that are looked at in search of one content."""


class Contents:
    """The contents of a flow, by names and by their first KiB."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[TailedFile]] = {}
        self._by_head: dict[bytes, list[TailedFile]] = {}
        self._names: dict[TailedFile, str] = {}
        self._heads: dict[TailedFile, bytes] = {}

    def __iter__(self) -> Iterator[TailedFile]:
        return iter(list(self._names))

    def add(self, file: TailedFile) -> None:
        """Add a content, or note its new name."""
        name = os.path.basename(file.path)
        if self._names.get(file) != name:
            self._remove(self._by_name, self._names, file)
            self._names[file] = name
            self._by_name.setdefault(name, []).append(file)
        self.note_head(file)

    def note_head(self, file: TailedFile) -> None:
        """Note the content's beginning, once its first KiB was read."""
        if file not in self._heads and file.has_full_head:
            self._heads[file] = file.head.hash
            self._by_head.setdefault(file.head.hash, []).append(file)

    def remove(self, file: TailedFile) -> None:
        self._remove(self._by_name, self._names, file)
        self._remove(self._by_head, self._heads, file)

    def renamed_to(self, path: str) -> list[TailedFile]:
        """Return the contents of which rotation may have made a copy with this path."""
        name = os.path.basename(path)
        stem, extension = os.path.splitext(name)
        old_names = {name} | {name[:end] for end in range(1, len(name))}
        if extension:
            old_names |= {stem[:end] + extension for end in range(1, len(stem))}
        found = []
        for old_name in old_names & self._by_name.keys():
            is_rotated = is_rotated_name(old_name, name)
            # Contents with a full head are found by that. Of others the latest are enough.
            for file in self._by_name[old_name][-MOST_BY_NAME:]:
                if file.has_full_head and file.state == State.FINISHED:
                    continue
                if file.path != path and is_below(file.path, path) and (is_rotated or old_name == name):
                    found.append(file)
        return found

    def beginning_with(self, head: bytes) -> list[TailedFile]:
        """Return the contents that begin with these bytes, if they are a KiB."""
        return list(self._by_head.get(digest(head), ())) if len(head) == HEAD_BYTES else []

    @staticmethod
    def _remove(index: dict[_K, list[TailedFile]], keys: dict[TailedFile, _K], file: TailedFile) -> None:
        key = keys.pop(file, None)
        if key is not None:
            files = index[key]
            files.remove(file)
            if not files:
                del index[key]


class Neighbourhood:
    """The directories around a path, listed once: its own, those below, its parent, and those beside its own."""

    def __init__(self) -> None:
        self._listed: dict[str, list[os.DirEntry[str]]] = {}

    def find(self, file: TailedFile, is_other: Callable[[Key], bool]) -> tuple[str, Key, int] | None:
        """Look for a content that is no longer where it was. Return its path, key and an open descriptor.

        is_other: returns True for keys of files that have other contents.
        """
        entries = self._near(file.path)
        name = os.path.basename(file.path)
        same_number = [] if file.is_lost else [entry for entry in entries if entry.inode() == file.key[1]]
        similar = [entry for entry in entries if entry.name == name or is_rotated_name(name, entry.name)]
        if not file.head.length:  # nothing of it was seen, so the inode alone could be another file's by now
            same_number = [entry for entry in same_number if entry.name.startswith(name)]
            similar = []
        best: tuple[str, Key, int] | None = None
        size = -1
        for entry in [*same_number, *similar]:
            found = self._check(file, entry.path, is_other)
            if found is None:
                continue
            found_size = os.lseek(found[2], 0, os.SEEK_END)
            if found_size > size:  # an older copy is shorter
                found, best, size = best, found, found_size
            if found is not None:
                os.close(found[2])
        return best

    def _check(self, file: TailedFile, path: str, is_other: Callable[[Key], bool]) -> tuple[str, Key, int] | None:
        if path.lower().endswith(IGNORED_ENDINGS):
            return None
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            state = os.fstat(descriptor)
            key = (state.st_dev, state.st_ino)
            may_be = key == file.key or not is_other(key)
            if may_be and (key != file.key or not file.is_lost) and file.is_content(descriptor, file.taken):
                return path, key, descriptor
        except OSError:
            pass
        os.close(descriptor)
        return None

    def _near(self, path: str) -> list[os.DirEntry[str]]:
        directory = os.path.dirname(path)
        parent = os.path.dirname(directory)
        result = list(self._list(directory))
        for entry in list(result):
            if _is_directory(entry):
                result.extend(self._list(entry.path))
        if parent not in (directory, "/"):
            for entry in self._list(parent):
                if entry.path != directory and _is_directory(entry):
                    result.extend(self._list(entry.path))
                if len(result) > MOST_ENTRIES:
                    break
            result.extend(self._list(parent))
        return [entry for entry in result[:MOST_ENTRIES] if not _is_directory(entry)]

    def _list(self, directory: str) -> list[os.DirEntry[str]]:
        known = self._listed.get(directory)
        if known is None:
            try:
                with os.scandir(directory) as entries:
                    known = [entry for entry, _ in zip(entries, range(MOST_ENTRIES), strict=False)]
            except OSError:
                known = []
            self._listed[directory] = known
        return known


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
