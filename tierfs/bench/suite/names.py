"""What the sides and modes of the acceptance run are called."""

from __future__ import annotations

from typing import Final

NATIVE: Final = "native"
TIERFS: Final = "tierfs"
PYTHON: Final = "no-fastpath"
MERGERFS: Final = "mergerfs"
BINDFS: Final = "bindfs"
BEFORE: Final = "before"
DISK: Final = "disk"
ON_DISK: Final = "tierfs on disk"
MOVING: Final = "tierfs, moving"

PINNED: Final = "pinned"
FREE: Final = "free"
