"""A program that changes a tree without end and keeps a journal of what it did.

`writer.py ROOT JOURNAL SEED` ends with status 0 when the filesystem of ROOT is gone, and with a
traceback when an operation fails for any other reason.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from tests.crash.journal import Journal
from tests.crash.operations import Chooser, apply

DEAD = frozenset({errno.ENOTCONN, errno.ECONNABORTED})
"""What the kernel answers in place of a daemon that has died."""


def main() -> None:
    """Write until the filesystem is gone."""
    root, journal, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    try:
        write(root, journal, seed)
    except OSError as error:
        if error.errno not in DEAD and not gone(root):
            raise


def write(root: Path, path: Path, seed: int, *, limit: float = float("inf")) -> None:
    """Do operations below `root`, at most `limit` of them."""
    chooser = Chooser(root, seed)
    done = 0
    with Journal(path) as journal:
        while done < limit:
            operation = chooser.choose()
            journal.begin(operation)
            apply(root, operation)
            journal.succeed()
            done += 1


def gone(root: Path) -> bool:
    """Whether nobody serves the filesystem any longer, or it has been unmounted.

    Asked with statvfs: the kernel answers stat from its cache, long after the daemon has died.
    """
    try:
        os.statvfs(root)
    except OSError as error:
        return error.errno in {*DEAD, errno.ENOENT}
    return False


if __name__ == "__main__":
    main()
