"""The command line with which another process runs this same tierfs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import tierfs

INSTALLED: Final = ("site-packages", "dist-packages")


def module_command(module: str) -> list[str]:
    """The command that runs ``module`` with the Python and the tierfs of this process.

    ``-P`` keeps modules of the working directory out. A tierfs that runs from its source directory
    is found there, installed or not.
    """
    words = [sys.executable, "-P", "-m", module]
    home = Path(tierfs.__path__[0]).parent
    if home.name in INSTALLED:
        return words
    more = os.environ.get("PYTHONPATH")
    paths = f"{home}:{more}" if more and more != os.fspath(home) else os.fspath(home)
    return ["/usr/bin/env", f"PYTHONPATH={paths}", *words]
