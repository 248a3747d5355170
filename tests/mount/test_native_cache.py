"""The router holds what the core tells it, and counts lookups as the core expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, FILE, ME
from tests.support.volumes import home, make_tiers, volume_settings
from tierfs.common.metrics import Metrics
from tierfs.daemon.native import FastPath
from tierfs.fs.volume import Volume, format_volume, open_volume
from tierfs.metadata.inodes import ROOT
from tierfs.native import _router
from tierfs.policy.volume_file import FastPathSettings

pytestmark = pytest.mark.once

__all__ = ["home"]


class Told:
    """In place of a router: for how long the room is good."""

    def __init__(self, told: list[float]) -> None:
        self._told = told

    def put_statfs(self, _fields: object, valid_s: float) -> None:
        self._told.append(valid_s)


@contextmanager
def published(home: Path) -> Iterator[tuple[Volume, FastPath]]:
    """A volume and the fast path that it is published to; a router ends with its last reference."""
    fast_path = FastPath(_router, FastPathSettings())
    chosen = volume_settings(home / "volume")
    make_tiers(chosen)
    format_volume(chosen)
    volume = open_volume(chosen, metrics=Metrics(), make_ports=fast_path.make_ports)
    try:
        yield volume, fast_path
    finally:
        volume.close()
        fast_path.stop()


def test_what_is_made_is_held(home: Path) -> None:
    with published(home) as (volume, fast_path):
        before = fast_path.router.counters()
        volume.fs.names.make(ROOT, b"d", DIRECTORY, ME)
        volume.fs.names.make(ROOT, b"f", FILE, ME)
        after = fast_path.router.counters()
        # Each of both, and the root.
        assert (after.inodes - before.inodes, after.dentries - before.dentries) == (3, 2)


def test_references_are_counted_by_the_router(home: Path) -> None:
    with published(home) as (volume, fast_path):
        ino = volume.fs.names.make(ROOT, b"f", FILE, ME).ino
        volume.fs.names.lookup(ROOT, b"f")
        assert volume.fs.lookup_counts.count(ino) == fast_path.router.lookup_count(ino) == 2


def test_a_name_that_is_asked_for_is_published_with_or_without_an_inode(home: Path) -> None:
    with published(home) as (volume, fast_path):
        volume.fs.names.make(ROOT, b"f", FILE, ME)
        fast_path.router.clear()
        for count, name in enumerate((b"f", b"none"), 1):
            volume.fs.names.find(ROOT, name)
            assert fast_path.router.counters().dentries == count


def test_an_unlinked_file_lives_until_it_is_forgotten(home: Path) -> None:
    with published(home) as (volume, fast_path):
        ino = volume.fs.names.make(ROOT, b"f", FILE, ME).ino
        volume.fs.names.unlink(ROOT, b"f")
        volume.fs.reclaimer.drain()
        assert volume.fs.attributes.get(ino).nlink == 0
        assert fast_path.router.lookup_count(ino) == 1


def test_only_a_file_that_the_kernel_does_not_know_goes_at_once(home: Path) -> None:
    with published(home) as (volume, _fast_path):
        ino = volume.fs.names.make(ROOT, b"f", FILE, ME).ino
        assert not volume.fs.lookup_counts.orphan(ino)
        assert volume.fs.lookup_counts.orphan(ino + 1000)


def test_the_room_is_told_until_something_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with published(home) as (volume, fast_path):
        told: list[float] = []
        monkeypatch.setattr(fast_path._cache, "_router", Told(told))
        volume.fs.names.make(ROOT, b"a", FILE, ME)
        assert told == []
        fast_path.put_statfs(volume.fs.statfs())
        volume.fs.names.make(ROOT, b"b", FILE, ME)
        volume.fs.names.make(ROOT, b"c", FILE, ME)
        assert told == [1.0, 0.0]
