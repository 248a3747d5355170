"""Wording that several commands share: errors, counts, tables, and why files wait."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tierfs.common.errors import printable_lines
from tierfs.common.units import format_size

TOLD: Final = 10
"""Problems with single files that are printed; the others are counted."""

_POSITION: Final = re.compile(r"[^\n]+:\d+:\d+: ")


def message(program: str, error: Exception) -> str:
    """The line, or lines, for standard error.

    The message for a mistake in a file begins with ``FILE:LINE:COLUMN:``, as compilers write it, so
    that editors find the place; any other with the name of the program.
    """
    text = printable_lines(str(error))
    return text if _POSITION.match(text) else f"{program}: {text}"


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many}"


def aligned(rows: list[tuple[str, ...]], *, numbers: int = 0) -> list[str]:
    """The rows as lines; the last ``numbers`` columns are aligned right, the others left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    signs = ["<"] * (len(widths) - numbers) + [">"] * numbers
    form = "  ".join(f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=True))
    return [form.format(*row).rstrip() for row in rows]


def damaged_lines(shown: Sequence[object], count: int) -> list[str]:
    """What is said of the lines of a recording that are skipped: the first, and how many more."""
    rest = [f"and {count - len(shown):,} more lines that are damaged"] if count > len(shown) else []
    return [*(f"{one}; the line is skipped" for one in shown), *rest]


WAITS: Final = {
    "room": "flash has no room for it",
    "inodes": "flash has no inode for it",
    "window": "mover.window is closed",
    "rate": "the mover has not reached it yet",
    "backoff": "it was changed recently",
    "closed": "nothing is moved: the mount is read-only, or too many moves failed",
    "error": "moving it failed and is tried again; see the log",
}
"""For each `tierfs.tiering.state.WaitReason`."""


def reasons(sums: dict[str, dict[str, int]]) -> list[tuple[str, str, str]]:
    """Each reason, its files and their bytes; the most bytes first."""
    rows = sorted(sums.items(), key=lambda one: -one[1]["bytes"])
    return [(why, f"{one['files']:,}", format_size(one["bytes"])) for why, one in rows]


def reasons_line(sums: dict[str, dict[str, int]]) -> str:
    """The same in one line."""
    told = [f"{why} {files} files, {size}" for why, files, size in reasons(sums)]
    return "; ".join(told) or "nothing"
