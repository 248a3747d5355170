"""Names of files for people."""

from __future__ import annotations

import os
from pathlib import Path


def printable(path: Path | str | bytes) -> str:
    """A path for people: bytes that are no UTF-8, and control characters, as escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
