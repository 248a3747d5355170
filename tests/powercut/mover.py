"""Has files moved at random, by the attributes that the verbs promote, demote and pin set.

``python -m tests.powercut.mover ROOT SEED``: until it is killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from pathlib import Path

PAUSE_S = 0.01


def move(path: Path, chance: random.Random) -> None:
    """Ask for one move, or wait for one; whatever is wrong with the file is the same here."""
    wish = chance.choice(("none", "none", "all", "all", "4096", "128KiB", "pin", "unpin"))
    with contextlib.suppress(OSError):
        match wish:
            case "pin":
                os.setxattr(path, "tierfs.pin", b"1")
            case "unpin":
                os.removexattr(path, "tierfs.pin")
            case _:
                os.setxattr(path, "tierfs.prefix", wish.encode())


def main() -> None:
    """Move files about."""
    root, chance = Path(sys.argv[1]), random.Random(sys.argv[2])
    while True:
        files: list[Path] = []
        with contextlib.suppress(OSError):
            for folder, _, names in os.walk(root):
                files += [Path(folder, name) for name in sorted(names)]
        for path in chance.sample(files, min(10, len(files))):
            move(path, chance)
            time.sleep(PAUSE_S)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
