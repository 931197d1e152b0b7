"""Collects the errors and warnings of a configuration, each with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kplpy.errors import ConfigError
from kplpy.escaping import shown


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    text: the value, the rule, and what to do.
    path: of the key, such as "flows[0].filePattern"; "" for the whole file.
    line, column: in the file, from 1; 0 where there is none.
    """

    text: str
    path: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line else ""
        if self.column:
            place += f", column {self.column}"
        return ": ".join(shown(part) for part in (place, self.path, self.text) if part)


class AgentConfigError(ConfigError):
    """A configuration of the agent cannot be used. The message has the file, and each problem with its line.

    problems, warnings: one text each, with the file's name.
    """

    def __init__(self, message: str, problems: tuple[str, ...] = (), warnings: tuple[str, ...] = ()) -> None:
        super().__init__(message, problems, warnings)
        self.problems = problems
        self.warnings = warnings

    def __str__(self) -> str:
        return str(self.args[0])


class Findings:
    """The errors and warnings of one configuration.

    name: of the file, for messages. lines: path of a key → its line.
    """

    def __init__(self, name: str, lines: Mapping[str, int] | None = None) -> None:
        self.name = name
        self._lines = lines or {}
        self._errors: list[Problem] = []
        self._warnings: list[Problem] = []

    @property
    def errors(self) -> list[str]:
        """The errors in the order of their lines, each with the file's name."""
        return [self._with_name(each) for each in sorted(self._errors, key=_line)]

    @property
    def warnings(self) -> list[str]:
        """The warnings in the order of their lines, each with the file's name."""
        return [self._with_name(each) for each in sorted(self._warnings, key=_line)]

    def error(self, path: str, text: str) -> None:
        """Note an error at a key. Reading goes on, so that all errors are reported together."""
        self.add_error(Problem(text, path, self._line_of(path)))

    def add_error(self, problem: Problem) -> None:
        """Note an error that has its place already."""
        self._errors.append(problem)

    def warn(self, path: str, text: str) -> None:
        """Note what is suspicious at a key, and does not keep the agent from starting."""
        self._warnings.append(Problem(text, path, self._line_of(path)))

    def raise_errors(self) -> None:
        """Raise AgentConfigError if there are errors."""
        if self._errors:
            raise error_of(self.errors, self.warnings)

    def _line_of(self, path: str) -> int:
        """Return the line of a key, or of the object that should have it."""
        while path and path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get(path, 0)

    def _with_name(self, problem: Problem) -> str:
        separator = ", " if problem.line else ": "
        return f"{shown(self.name)}{separator}{problem}"


def _line(problem: Problem) -> int:
    return problem.line


def error_of(problems: Sequence[str], warnings: Sequence[str] = ()) -> AgentConfigError:
    """Return the error for these problems, of one file or several."""
    if len(problems) == 1:
        return AgentConfigError(problems[0], tuple(problems), tuple(warnings))
    text = "".join(f"\n  {problem}" for problem in problems)
    return AgentConfigError(f"the configuration has {len(problems)} errors:{text}", tuple(problems), tuple(warnings))
