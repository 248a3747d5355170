"""Text that others chose, made safe to print: names of files, arguments, answers of a daemon.

A terminal obeys escape sequences, and a log is read by lines: neither may come from a name.
"""

from __future__ import annotations

import os
from pathlib import Path


def printable(path: Path | str | bytes) -> str:
    """A path for people, on one line: bytes that are no UTF-8 and control characters as escapes."""
    text = path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else os.fspath(path)
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """Text for people that may have several lines; the rest as ``printable``."""
    return "\n".join(map(printable, text.split("\n")))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8 (PEP 383)
        return f"\\x{os.fsencode(character)[0]:02x}"
    return character.encode("unicode_escape").decode("ascii")
