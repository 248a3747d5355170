"""A kill at each step of a backup, a restore, a new flash: nothing is lost, and again works."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, ME
from tests.fs.migrating import free
from tests.support.faulty_os import FaultyOs, Killed, Moment, Point
from tests.support.fsck import assert_clean
from tests.support.volumes import LooseVolume, MakeVolume
from tierfs.backup.files import backups, directory_of
from tierfs.backup.making import NOTHING_CHANGES, Job, Made, make_backup
from tierfs.backup.replace_flash import replace_flash
from tierfs.backup.restore import Report, restore
from tierfs.common.errors import VolumeRefused
from tierfs.metadata.inodes import ROOT
from tierfs.policy.volume_template import render_volume_file

Content = dict[bytes, tuple[int, bytes]]

CONTENTS = {b"empty": b"", b"small": b"a" * 100, b"large": os.urandom(20_000)}


@pytest.fixture
def filled(make_volume: MakeVolume) -> LooseVolume:
    """A volume with files that are all on disk, closed, with a backup."""
    volume = make_volume()
    directory = volume.fs.names.make(ROOT, b"directory", DIRECTORY, ME, target=None).ino
    for name, content in CONTENTS.items():
        ino = volume.fs.names.make(directory, name, stat.S_IFREG | 0o640, ME, target=None).ino
        volume.fs.data.write(ino, 0, content)
        volume.fs.xattrs.set(ino, b"user.label", name)
        volume.fs.data.sync(ino)
        volume.fs.migrator.place(ino, 0, keep_mirror=False, paced=free)
    volume.close()
    text = render_volume_file(
        flash=volume.settings.flash, disk=volume.settings.disk, head=volume.settings.head
    )
    volume.settings.path.write_text(text)
    back_up(volume)
    return volume


def back_up(volume: LooseVolume, os_: FaultyOs | None = None) -> Made:
    settings = volume.settings
    job = Job(settings.index, directory_of(settings), 2, 1 << 20, NOTHING_CHANGES)
    return make_backup(job, os_=os_ or FaultyOs())


def content_of(volume: LooseVolume) -> Content:
    """Every file, opened anew; the volume is closed and clean afterwards."""
    volume.open()
    directory = volume.find(b"directory").ino
    found: Content = {}
    for name in CONTENTS:
        inode = volume.find(b"directory", name)
        assert volume.fs.xattrs.get(inode.ino, b"user.label") == name
        found[name] = inode.mode, volume.fs.data.read(inode.ino, 0, inode.size)
    assert len(list(volume.fs.listing.after(directory, 0))) == len(CONTENTS) + 2
    volume.close()
    assert_clean(volume.settings)
    return found


def each_kill(
    work: Callable[[LooseVolume, FaultyOs], object], volume: LooseVolume, homes: Path
) -> list[tuple[Point, Moment, LooseVolume]]:
    """Copies of the volume as a kill at each call of ``work`` leaves it."""
    recorder = FaultyOs()
    work(volume.copy(homes / "recorded"), recorder)
    assert len(recorder.points()) >= 4
    left = []
    moments: tuple[Moment, Moment] = ("before", "after")
    for number, point in enumerate(recorder.points()):
        for moment in moments:
            victim = volume.copy(homes / f"{number}-{moment}")
            os_ = FaultyOs()
            kept: list[LooseVolume] = []
            after = homes / f"{number}-{moment}-left"
            os_.kill(point, moment, lambda: kept.append(victim.copy(after)))  # noqa: B023
            with pytest.raises(Killed):
                work(victim, os_)
            left.append((point, moment, kept[0]))
    return left


def test_a_backup_that_is_killed_leaves_the_older_ones(filled: LooseVolume, home: Path) -> None:
    for _, _, left in each_kill(back_up, filled, home / "kills"):
        found = backups(directory_of(left.settings))
        assert found
        made = back_up(left)
        assert made.path.exists()
        left.settings.index.unlink()
        assert restore(left.settings).missing == 0
        assert content_of(left)[b"large"][1] == CONTENTS[b"large"]
        assert not list(directory_of(left.settings).glob(".unfinished*"))


def test_a_restore_that_is_killed_is_begun_again(filled: LooseVolume, home: Path) -> None:
    wanted = content_of(filled.copy(home / "wanted"))
    filled.settings.index.unlink()

    def work(volume: LooseVolume, os_: FaultyOs) -> Report:
        return restore(volume.settings, os_=os_)

    for point, moment, left in each_kill(work, filled, home / "kills"):
        if left.settings.index.exists():
            assert (str(point), moment) == ("restore.rename[0]", "after")
            with pytest.raises(VolumeRefused, match="there is an index"):
                restore(left.settings)
        else:
            assert restore(left.settings).missing == 0
        assert content_of(left) == wanted


def test_a_new_flash_that_is_killed_is_begun_again(filled: LooseVolume, home: Path) -> None:
    wanted = content_of(filled.copy(home / "wanted"))

    def work(volume: LooseVolume, os_: FaultyOs) -> Report:
        text = volume.settings.path.read_text()
        volume.settings.path.write_text(text.replace(str(filled.home), str(volume.home)))
        new = volume.home / "new"
        new.mkdir(0o755, exist_ok=True)
        return replace_flash(volume.settings, new, os_=os_)

    for point, moment, left in each_kill(work, filled, home / "kills"):
        new = left.home / "new"
        settings = replace(left.settings, flash=new, index=new / "index.db")
        if not settings.index.exists():
            assert work(left, FaultyOs()).missing == 0
        else:
            assert point.label in {"restore.rename", "restore.volume_file"}, (point, moment)
        renewed = LooseVolume(settings)
        assert content_of(renewed) == wanted
