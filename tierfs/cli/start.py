"""The program `tierfs`: what is done before its commands are loaded."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

from tierfs.common.priority import give_way

GENTLE: Final = frozenset({"find", "sql", "manifest"})
"""Those that wait for a process of low priority: to start, they do not push others aside either."""


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    if GENTLE.intersection(sys.argv[1:2]):
        give_way()  # to load the commands takes most of the processor time
    code: int = import_module("tierfs.cli.main").main()
    return code
