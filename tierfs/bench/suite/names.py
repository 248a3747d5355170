"""What the sides and modes of the acceptance run are called."""

from __future__ import annotations

from typing import Final

NATIVE: Final = "native"
TIERFS: Final = "tierfs"
PYTHON: Final = "no-fastpath"
MERGERFS: Final = "mergerfs"
BINDFS: Final = "bindfs"
BEFORE: Final = "before"
"""Another tierfs, such as that of the last release."""
DISK: Final = "disk"
ON_DISK: Final = "tierfs on disk"
EXT4: Final = "ext4"
ON_EXT4: Final = "tierfs on ext4"
BEFORE_ON_EXT4: Final = "before on ext4"
MOVING: Final = "tierfs, moving"

PINNED: Final = "pinned"
FREE: Final = "free"
