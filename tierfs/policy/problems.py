"""What is wrong with a YAML file: each problem with its place and a hint, all in one error."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from tierfs.base.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_SHOWN = 100
"""More problems than this in one file are counted, not listed: nobody reads them."""

_LONGEST_QUOTE = 60
_MOST_COMPARED = 1000
"""Known words that a slip is compared with: a file may give thousands of them."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something starts in a file; both numbers count from 1, as editors do."""

    line: int
    column: int


START = Place(1, 1)
"""Where a problem of the whole file is reported."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it is, what it is, and how to put it right."""

    place: Place
    what: str
    hint: str


@dataclass(slots=True)
class Problems:
    """The mistakes found in one file so far."""

    path: Path
    found: list[Problem] = field(default_factory=list)

    def add(self, place: Place, what: str, hint: str) -> None:
        """Note one mistake and carry on."""
        self.found.append(Problem(place, what, hint))

    @property
    def too_many(self) -> bool:
        """Whether more are noted than are shown: a hint that is costly to find is of no use now."""
        return len(self.found) > MAX_SHOWN

    def raise_if_any(self) -> None:
        """Report every mistake noted, in the order of the file.

        Raises:
            ConfigError: there are some.
        """
        if self.found:
            raise self.error()

    def error(self) -> ConfigError:
        """The error that reports every mistake noted, in the order of the file."""
        ordered = sorted(dict.fromkeys(self.found), key=lambda problem: problem.place)
        lines = [_line(self.path, problem) for problem in ordered[:MAX_SHOWN]]
        if len(ordered) > MAX_SHOWN:
            lines.append(f"{self.path}: and {len(ordered) - MAX_SHOWN} more; mend these first")
        return ConfigError.of_lines(lines)


def quote(text: str) -> str:
    """``text`` as a message shows it: in quotes, on one line, cut when long."""
    short = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) + '"'


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``word`` is probably a slip of, whatever its case."""
    by_folded = {name.casefold(): name for name in islice(known, _MOST_COMPARED)}
    # The cuts keep the comparison, quadratic in the worst case, cheap for junk.
    close = difflib.get_close_matches(word.casefold()[:_LONGEST_QUOTE], by_folded, n=1)
    return by_folded[close[0]] if close else None


def _line(path: Path, problem: Problem) -> str:
    place = problem.place
    return f"{path}:{place.line}:{place.column}: {problem.what}; {problem.hint}"
