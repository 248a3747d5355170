"""The temporary directories of a run, and their end."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tierfs.base.errors import TierfsError
from tierfs.demo.mounts import is_mounted

PREFIX = "tierfs-demo-"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where everything of a run lies. ``roots`` are the directories to delete in the end."""

    home: Path
    flash: Path
    disk: Path
    source: Path
    roots: tuple[Path, ...]

    @property
    def mountpoint(self) -> Path:
        """Where the volume is mounted."""
        return self.home / "mnt"

    @property
    def volume_file(self) -> Path:
        """The YAML file that ``tierfs init`` writes."""
        return self.home / "volume.yaml"

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self.home / "daemon.log"

    def delete(self) -> None:
        """Remove all of it. Raises TierfsError while it is mounted, or when something stays."""
        if is_mounted(self.mountpoint):
            raise TierfsError(f"{self.mountpoint} is still mounted: unmount and delete {self.home}")
        for root in self.roots:
            shutil.rmtree(root, ignore_errors=True)
        left = [str(root) for root in self.roots if root.exists()]
        if left:
            raise TierfsError(f"could not delete {', '.join(left)}; please do")


@contextmanager
def workspace(
    place: Path, flash: Path | None, disk: Path | None, *, keep: bool
) -> Iterator[Workspace]:
    """Make the directories of a run in ``place``; both tiers there too unless told otherwise.

    The source of the copies lies with the disk tier, so that reading it shows what that storage
    costs. Raises OSError when a directory cannot be made.
    """
    work = _make(place, flash or place, disk or place)
    try:
        yield work
    finally:
        if not keep:
            with undisturbed():
                work.delete()


def _make(*places: Path) -> Workspace:
    unique = {place.resolve(): None for place in places}
    roots = {place: Path(tempfile.mkdtemp(prefix=PREFIX, dir=place)) for place in unique}
    home, flash, disk = (roots[place.resolve()] for place in places)
    work = Workspace(home, flash / "flash", disk / "disk", disk / "source", tuple(roots.values()))
    for directory in (work.flash, work.disk, work.source, work.mountpoint):
        directory.mkdir()
    return work


@contextmanager
def undisturbed() -> Iterator[None]:
    """Cleaning up is not interrupted: a second Ctrl-C would only leave things behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
