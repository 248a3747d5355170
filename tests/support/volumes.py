"""Volumes without a mount: formatted in memory, opened with an Os and a clock of the test's own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.faulty_os import FaultyOs
from tests.support.fixtures import directory
from tierfs.common.metrics import Metrics
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.volume import HEADS, OBJECTS, Volume, format_volume, open_volume
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.policy.volume_file import LogSettings, VolumeFile
from tierfs.storage.layout import object_path

KIB = 1024
HEADS_TRIED = (4 * KIB, 64 * KIB)


class FakeClock:
    """Nanoseconds that stand still until a test moves them."""

    def __init__(self, now: int = 1_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def tick(self) -> int:
        """Go on by a microsecond; returns the new time."""
        self.now += 1000
        return self.now


def volume_settings(home: Path, head: int = 4 * KIB) -> VolumeFile:
    """The settings of a volume whose parts are all below ``home``."""
    return VolumeFile(
        path=home / "volume.yaml",
        flash=home / "flash",
        disk=home / "disk",
        index=home / "flash" / "index.db",
        head=head,
        policy=None,
        metrics_listen=None,
        log=LogSettings(format="text", level="info", file=None),
    )


def make_tiers(settings: VolumeFile) -> None:
    """Make the two directories, empty."""
    for path in (settings.flash, settings.disk):
        path.mkdir(0o755, parents=True)


class LooseVolume:
    """One volume, opened; it can be closed, opened again, and copied as a crash would leave it."""

    def __init__(self, settings: VolumeFile) -> None:
        self.settings = settings
        self.home = settings.path.parent
        self.os = FaultyOs()
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.read_only = False
        self.force = False
        self.grouped = False
        """Whether SQLite commits in groups, as in a daemon."""
        self._volume: Volume | None = None

    @property
    def volume(self) -> Volume:
        assert self._volume is not None, "the volume is closed"
        return self._volume

    @property
    def fs(self) -> FileSystem:
        return self.volume.fs

    @property
    def index(self) -> Index:
        return self.volume.index

    @property
    def head(self) -> int:
        return self.settings.head

    def open(self) -> None:
        self._volume = open_volume(
            self.settings,
            metrics=self.metrics,
            os_=self.os,
            clock=self.clock,
            read_only=self.read_only,
            force=self.force,
        )
        try:
            if self.grouped:
                self.index.group_commits()
        except BaseException:
            self.abandon()
            raise

    def close(self) -> None:
        """Close as an unmount does; closing twice is fine."""
        if self._volume is not None:
            volume, self._volume = self._volume, None
            volume.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def abandon(self) -> None:
        """Give the descriptors back without a last step: to the files the process has died."""
        if self._volume is not None:
            volume, self._volume = self._volume, None
            volume._resources.close()

    def copy(self, home: Path) -> LooseVolume:
        """A volume, not yet open, with the files as they are now."""
        shutil.copytree(self.home, home, symlinks=True)
        copied = LooseVolume(volume_settings(home, self.head))
        copied.grouped = self.grouped
        return copied

    def find(self, *names: bytes) -> Inode:
        """What a path leads to."""
        inode = self.fs.attributes.get(ROOT)
        for name in names:
            found = self.index.dentries.find(inode.ino, name)
            assert found is not None, name
            inode = found
        return inode

    def flash_object(self, ino: int) -> Path:
        return self.settings.flash / HEADS / object_path(ino)

    def disk_object(self, ino: int) -> Path:
        return self.settings.disk / OBJECTS / object_path(ino)


class MakeVolume(Protocol):
    """Formats a volume and opens it."""

    def __call__(self, head: int = 4 * KIB) -> LooseVolume:
        """``head`` in bytes."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, in memory where possible."""
    with directory(tmp_path) as path:
        yield path


@pytest.fixture
def make_volume(home: Path) -> Iterator[MakeVolume]:
    """Formats and opens volumes; closes them at the end."""
    with contextlib.ExitStack() as stack:
        numbers = iter(range(1000))

        def make(head: int = 4 * KIB) -> LooseVolume:
            chosen = volume_settings(home / f"{next(numbers)}", head)
            make_tiers(chosen)
            format_volume(chosen)
            made = LooseVolume(chosen)
            stack.callback(made.close)
            made.open()
            return made

        yield make


@pytest.fixture(params=HEADS_TRIED, ids=["4KiB", "64KiB"])
def volume(request: pytest.FixtureRequest, make_volume: MakeVolume) -> LooseVolume:
    """A fresh volume, open, once with a small head and once with the default one."""
    return make_volume(request.param)


@pytest.fixture
def small(make_volume: MakeVolume) -> LooseVolume:
    """A fresh volume, open, with a head of 4 KiB."""
    return make_volume()
