"""Where a test's program runs: on a mount, or on a native directory that proves the test."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Place(Protocol):
    """A directory whose filesystem can be taken away and put back."""

    path: Path

    def mount(self, *options: str) -> None:
        """Make the directory usable."""

    def remount(self, *options: str) -> None:
        """Make every memory of the files go away, the files themselves stay."""

    def kill(self) -> None:
        """End whatever serves the directory, without a warning."""


class NativeDirectory:
    """A plain directory with the face of a mount, which nothing can take away."""

    def __init__(self, path: Path) -> None:
        path.mkdir(0o755, parents=True, exist_ok=True)
        self.path = path

    def mount(self, *_options: str) -> None:
        """Nothing to do: the directory is always there."""

    def remount(self, *_options: str) -> None:
        """Nothing to do: a native directory has no daemon that remembers."""

    def kill(self) -> None:
        """Nothing to do: the kernel serves the directory."""
