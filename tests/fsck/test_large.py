"""Many inodes: memory does not grow with them."""

from __future__ import annotations

import gc
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.volumes import LooseVolume
from tierfs.fsck import check as check_module
from tierfs.fsck import kinds
from tierfs.fsck.faults import Case, cases
from tierfs.metadata.inodes import COLUMNS, ROOT, Inode
from tierfs.metadata.integrity import IntegrityCheck

INODES = 100_000
FEWER = 20_000
EACH = 1000
"""Files in a directory."""

FIRST = 16
DIRECTORY = stat.S_IFDIR | 0o755
FILE = stat.S_IFREG | 0o644


def row(ino: int, mode: int, parent: int) -> Inode:
    is_directory = stat.S_ISDIR(mode)
    size, links = (4096, 2) if is_directory else (0, 1)
    return Inode(ino, mode, 0, 0, links, size, 0, 1, 1, 1, 4096, 0, parent, None, 0, 0)


def rows(inodes: int) -> Iterator[Inode]:
    """Directories of files; the first number of each thousand is the directory's."""
    for ino in range(FIRST, FIRST + inodes - 1):
        directory = ino - (ino - FIRST) % EACH
        yield row(ino, FILE, directory) if ino > directory else row(ino, DIRECTORY, ROOT)


def fill(volume: LooseVolume, inodes: int) -> None:
    """Put the rows in without tierfs, which would take a minute."""
    marks = ", ".join("?" * len(Inode._fields))
    with closing(sqlite3.connect(volume.settings.index)) as connection, connection:
        connection.executemany(f"INSERT INTO inode ({COLUMNS}) VALUES ({marks})", rows(inodes))  # noqa: S608
        entries = (
            (inode.parent, b"n%d" % inode.ino, inode.ino, inode.ino) for inode in rows(inodes)
        )
        connection.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", entries)
        directories = sum(stat.S_ISDIR(inode.mode) for inode in rows(inodes))
        connection.execute("UPDATE inode SET nlink = ? WHERE ino = 1", (2 + directories,))
        connection.execute("UPDATE usage SET exact = 0")
        end = FIRST + inodes
        connection.execute("UPDATE volume SET next_serial = ?, dirty_from = ?", (end, end))


class Memory:
    """Python's objects in use while a check is under way, beyond those before it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 0
        gc.collect()  # what earlier tests left, or it would be freed meanwhile
        self._before = sys.getallocatedblocks()
        monkeypatch.setattr(check_module, "cases", self._watched)

    def _watched(self, inspection: IntegrityCheck) -> Iterator[Case]:
        for number, case in enumerate(cases(inspection)):
            if number % EACH == 0:
                self.most = max(self.most, sys.getallocatedblocks() - self._before)
            yield case


def test_a_hundred_thousand_inodes_need_no_memory_of_their_own(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.close()
    fill(small, INODES)
    memory = Memory(monkeypatch)
    report = check_module.check(small.settings)
    assert (report.inodes, report.findings) == (INODES, [])
    assert 0 < memory.most < INODES / 20


def test_as_many_findings_need_none_either(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file says that it has bytes, and none has an object; the report keeps few."""
    monkeypatch.setattr(check_module, "KEPT", 10)
    small.close()
    fill(small, FEWER)
    with closing(sqlite3.connect(small.settings.index)) as connection, connection:
        connection.execute("UPDATE inode SET size = 1 WHERE mode & 0xF000 = 0x8000")
    memory = Memory(monkeypatch)
    report = check_module.check(small.settings)
    assert report.counts == {kinds.MISSING_OBJECT: report.files}
    assert report.files > FEWER * 0.99
    assert 0 < memory.most < FEWER / 4
