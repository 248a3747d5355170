"""A kill at each step of a backup, a restore, a new flash: nothing is lost, and again works."""

from __future__ import annotations

import os
import shutil
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, ME
from tests.fs.migrating import free
from tests.support.faulty_os import FaultyOs, Killed, Moment, Point
from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until
from tests.support.volumes import LooseVolume, MakeVolume
from tierfs.backup.files import backups, directory_of
from tierfs.backup.making import NOTHING_CHANGES, Job, Made, make_backup
from tierfs.backup.replace_flash import replace_flash
from tierfs.backup.restore import Report, restore
from tierfs.common.errors import VolumeRefused
from tierfs.metadata.inodes import ROOT
from tierfs.policy.volume_template import render_volume_file

pytestmark = pytest.mark.long

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
        found[name] = inode.mode, volume.fs.reads.read(inode.ino, 0, inode.size)
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


PAUSE_S = 0.0005
"""Between two files: thousands, and not tens of thousands, are made, brought back and removed."""


def made_until_killed(mount: Mount, seconds: float) -> int:
    """Make files, one after the other, until the daemon is killed; returns how many there are.

    It is killed ``seconds`` after the first one was copied.
    """
    (mount.path / "0").touch()
    wait_until(lambda: mount.status()["backup"]["behind"] == 0, what="a copy of the feed")
    kill = threading.Timer(seconds, mount.kill)
    kill.start()
    number = 1
    with suppress(OSError):
        while True:
            os.close(os.open(mount.path / f"{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            number += 1
            time.sleep(PAUSE_S)
    kill.join()
    return number


def test_a_kill_while_the_feed_is_copied_leaves_no_gap(
    make_mount: MakeMount, scratch: Path
) -> None:
    """What comes back is what was made first, up to some file."""
    mount = make_mount()
    for round_, seconds in enumerate((2.2, 3.1, 4.05)):
        wait_until(lambda: mount.status()["backup"]["last_s"], what="a backup", timeout=60)
        made = made_until_killed(mount, seconds)
        shutil.rmtree(mount.flash)
        new = scratch / f"new-{round_}"
        new.mkdir(0o755)
        tierfs("replace-flash", mount.volume_file, new)
        mount.flash = new
        mount.mount()
        names = sorted(map(int, os.listdir(mount.path)))
        assert names == list(range(len(names)))
        assert 0 < len(names) <= made
        for name in names:
            (mount.path / f"{name}").unlink()
