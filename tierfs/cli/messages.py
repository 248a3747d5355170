"""How a command tells of an error."""

from __future__ import annotations

import re
from typing import Final

from tierfs.base.text import printable_lines

_POSITION: Final = re.compile(r"[^\n]+:\d+:\d+: ")


def message(program: str, error: Exception) -> str:
    """The line, or lines, for standard error.

    A mistake in a file begins with its place, ``FILE:LINE:COLUMN:``, as compilers write it, so
    that editors find it; everything else with the name of the program.
    """
    text = printable_lines(str(error))
    return text if _POSITION.match(text) else f"{program}: {text}"


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many}"
