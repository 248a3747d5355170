"""What people read of the reasons for which files are not where they belong."""

from __future__ import annotations

from typing import Final

from tierfs.base.units import format_size

WAITS: Final = {
    "room": "flash has no room for it",
    "inodes": "flash has no inode for it",
    "window": "mover.window is closed",
    "rate": "the mover has not come to it",
    "backoff": "it was changed a moment ago",
    "closed": "nothing is moved: the mount is read-only, or too many moves failed",
    "error": "moving it failed, it is tried again; see the log",
}
"""By the reason, as `tierfs.tiering.state.WaitReason` has it."""


def reasons(sums: dict[str, dict[str, int]]) -> list[tuple[str, str, str]]:
    """Each reason, its files and their bytes; the most bytes first."""
    rows = sorted(sums.items(), key=lambda one: -one[1]["bytes"])
    return [(why, f"{one['files']:,}", format_size(one["bytes"])) for why, one in rows]


def reasons_line(sums: dict[str, dict[str, int]]) -> str:
    """The same in a line."""
    told = [f"{why} {files} files, {size}" for why, files, size in reasons(sums)]
    return "; ".join(told) or "nothing"
