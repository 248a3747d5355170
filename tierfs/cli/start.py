"""The program `tierfs`: what is done before its commands are loaded."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Final

from tierfs.common.priority import give_way

GENTLE: Final = frozenset({"find", "sql", "manifest"})
"""Those that wait for a process of low priority: to start, they do not push others aside either."""


def main() -> int:
    """Run the command line of this process; returns its exit code.

    A command of `GENTLE` does not return: it ends the process.
    """
    gentle = not GENTLE.isdisjoint(sys.argv[1:2])
    if gentle:
        give_way()  # to load the commands takes most of the processor time
        gc.disable()  # it would go through all that is loaded, again and again
    code: int = import_module("tierfs.cli.main").main()
    if gentle:
        _end(code)
    return code


def _end(code: int) -> None:
    """End this process at once: to take its objects apart takes a tenth of its processor time.

    Returns where standard output or standard error cannot be written, or is closed: it is left to
    Python to say so, as for any other command.
    """
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
