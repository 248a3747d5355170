from __future__ import annotations

from tests.fs.calls import file_of
from tests.fs.scenarios import pattern
from tests.support.volumes import LooseVolume
from tierfs.fs.activity import Activity

DATA = pattern(10_000)


def test_nothing_is_kept_while_nobody_asks(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.reads.read(ino, 0, 10)
    assert small.fs.activity.drain() == ([], set())


def test_reads_and_changes_of_files_are_told_once(small: LooseVolume) -> None:
    small.fs.activity.on = True
    one, two = file_of(small, DATA, b"one"), file_of(small, DATA, b"two")
    small.fs.reads.read(one, 0, 100)
    small.fs.reads.read(one, 9_990, 100)
    small.fs.reads.read(two, 0, 1)
    assert small.fs.activity.drain() == ([(one, 2, 110), (two, 1, 1)], {one, two})
    small.fs.data.truncate(two, 5)
    assert small.fs.activity.drain() == ([], {two})
    assert small.fs.activity.drain() == ([], set())


def test_a_move_is_neither(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.activity.on = True
    small.fs.migrator.place(ino, 0, keep_mirror=True, paced=lambda _: None)
    assert small.fs.activity.drain() == ([], set())


def test_what_is_kept_is_bounded() -> None:
    activity = Activity(limit=3)
    activity.on = True
    for ino in (1, 2, 3, 1, 4):
        activity.read(ino, 10)
        activity.changed(ino)
    assert activity.drain() == ([(2, 1, 10), (3, 1, 10), (4, 1, 10)], {2, 3, 4})
