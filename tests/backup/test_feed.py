"""The change feed: a copy of the index, and what the feed says since, are the index."""

from __future__ import annotations

import random
import sqlite3
import stat
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.fs.calls import FILE, ME, make
from tests.fs.migrating import free
from tests.support.volumes import LooseVolume
from tierfs.metadata import copying
from tierfs.metadata.changes import COLUMNS
from tierfs.metadata.copying import copy_index
from tierfs.metadata.feed_copy import FeedCopier, make_segment, read_segment
from tierfs.metadata.inodes import ROOT
from tierfs.metadata.pins_and_requests import Pin
from tierfs.metadata.restoring import RestoredIndex
from tierfs.metadata.schema import MIGRATIONS

TABLES = {
    "inode": "ino",
    "entry": "parent, name",
    "xattr": "ino, name",
    "pin": "ino",
    "dirty": "ino",
}
MEMORY = 1 << 20


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of what the feed follows; of an index that may be open."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&vfs=unix-none", uri=True)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY {key}").fetchall()  # noqa: S608 - names of our own
            for table, key in TABLES.items()
        } | {"from": connection.execute("SELECT dirty_from FROM volume").fetchall()}


class Changes:
    """Changes of every kind, at random."""

    def __init__(self, volume: LooseVolume, seed: int) -> None:
        self._volume = volume
        self._chance = random.Random(seed)
        self._names: list[bytes] = []
        self._made = 0

    def make(self) -> None:
        """One change."""
        fs, chance = self._volume.fs, self._chance
        roll = chance.random()
        if roll < 0.4 or len(self._names) < 5:
            name = b"file-%d" % self._made
            self._made += 1
            kind = chance.choice([FILE, FILE, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777])
            make(self._volume, name, kind)
            self._names.append(name)
            return
        name = chance.choice(self._names)
        inode = self._volume.find(name)
        if roll < 0.55:
            new = chance.choice([name + b"-", chance.choice(self._names)])
            if stat.S_ISDIR(inode.mode) == stat.S_ISDIR(self._mode_of(new, inode.mode)):
                fs.names.rename(ROOT, name, ROOT, new)
                self._names = [*({*self._names, new} - ({name} if new != name else set()))]
        elif roll < 0.65:
            (fs.names.rmdir if stat.S_ISDIR(inode.mode) else fs.names.unlink)(ROOT, name)
            self._names.remove(name)
        elif roll < 0.75 and not stat.S_ISLNK(inode.mode):
            fs.xattrs.set(inode.ino, b"user.%d" % chance.randrange(3), chance.randbytes(9))
        elif roll < 0.8:
            with self._volume.index.transaction():
                self._volume.index.pins_and_requests.pin(Pin(inode.ino, chance.randrange(99)))
        elif roll < 0.97 and stat.S_ISREG(inode.mode):
            fs.data.write(inode.ino, chance.randrange(5000), chance.randbytes(3000))
        else:
            self._volume.volume.checkpoints.make()

    def _mode_of(self, name: bytes, otherwise: int) -> int:
        row = self._volume.index.dentries.find(ROOT, name)
        return otherwise if row is None else row.mode


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_made_beside_a_writer_and_the_feed_since_are_the_index(
    volume: LooseVolume, home: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tierfs.metadata.copying.ROWS_AT_A_TIME", 7)
    changes = Changes(volume, seed)
    for _ in range(150):
        changes.make()
    feed, index = volume.index.feed, volume.index
    after = feed.register("test")
    segment, copy = home / "segment.db", home / "copy.db"
    make_segment(segment, feed.generation, after)
    with closing(FeedCopier(index.path, index.sync)) as copier:
        copier.write_to(segment)
        done = threading.Event()

        def copy_beside() -> None:
            try:
                checkpoints = index.checkpoint_for_snapshot()
                copy_index(index.path, copy, MEMORY, checkpoints=checkpoints, after=after)
            finally:
                done.set()

        thread = threading.Thread(target=copy_beside)
        thread.start()
        for _ in range(100):
            changes.make()
        while not done.wait(0.001):
            changes.make()
        thread.join()
        for _ in range(100):
            changes.make()
        index.store_deferred()
        assert copier.copy() == feed.last()
    assert read_segment(segment) == (feed.generation, after, feed.last())
    with closing(RestoredIndex(copy)) as restored:
        assert after <= restored.state.serial < feed.last()
        assert restored.replay(segment) > 0
        assert restored.state == (feed.generation, feed.last())
        assert restored.replay(segment) == 0
    assert rows_of(copy) == rows_of(index.path)


def test_an_index_that_changes_while_a_copy_opens_it_is_opened_again(
    small: LooseVolume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To attach the copy, SQLite reads the schema of the index, of pages of two states."""
    index, opened = small.index, copying._Copy._open
    torn: list[bytes] = []

    def open_beside(self: copying._Copy) -> sqlite3.Connection:
        if not torn:
            torn.append(b"beside")
            make(small, torn[0])
            index.checkpoint_for_snapshot()
            raise sqlite3.DatabaseError("database disk image is malformed")
        return opened(self)

    monkeypatch.setattr(copying._Copy, "_open", open_beside)
    after = index.feed.register("test")
    checkpoints = index.checkpoint_for_snapshot()
    copy_index(index.path, home / "copy.db", MEMORY, checkpoints=checkpoints, after=after)
    assert rows_of(home / "copy.db")["entry"] == rows_of(index.path)["entry"]


def test_without_a_reader_nothing_is_written(small: LooseVolume) -> None:
    feed = small.index.feed
    make(small, b"before")
    assert feed.last() == 0
    feed.register("one")
    generation = feed.generation
    make(small, b"file")
    assert feed.last() > 0
    small.reopen()  # it goes on with the next mount
    feed = small.index.feed
    last = feed.last()
    make(small, b"again")
    assert feed.last() > last
    feed.unregister("one")
    last = feed.last()
    make(small, b"after")
    assert (feed.last(), feed.generation != generation) == (last, True)


def test_a_change_that_is_rolled_back_is_not_in_the_feed(small: LooseVolume) -> None:
    feed = small.index.feed
    feed.register("one")
    last = feed.last()
    ino = make(small, b"file").ino
    made = feed.last()
    assert made > last
    with suppress(RuntimeError), small.index.transaction():
        small.index.xattrs.put(ino, b"user.label", b"value")
        raise RuntimeError
    assert feed.last() == made


def test_rows_are_trimmed_when_every_reader_has_dealt_with_them(small: LooseVolume) -> None:
    feed = small.index.feed
    feed.register("fast")
    feed.register("slow")
    for number in range(20):
        make(small, b"%d" % number)
    last = feed.last()
    feed.advance("fast", last)
    assert not feed.trim()
    feed.advance("slow", 10)
    feed.trim()
    ((first,),) = small.index._database.rows("SELECT min(serial) FROM feed")
    assert first == 11
    feed.advance("slow", last)
    feed.trim()
    ((count,),) = small.index._database.rows("SELECT count(*) FROM feed")
    assert (count, feed.last()) == (1, last)


def test_a_reader_that_is_far_behind_does_not_keep_the_feed_from_being_trimmed(
    small: LooseVolume,
) -> None:
    feed = small.index.feed
    feed.register("slow")
    for number in range(20):
        make(small, b"%d" % number)
    feed.trim(most=5)
    ((first,),) = small.index._database.rows("SELECT min(serial) FROM feed")
    assert first == feed.last() - 5
    small.close()


def test_owner_changes_reach_the_feed_as_after_images(small: LooseVolume) -> None:
    small.index.feed.register("one")
    ino = make(small, b"file").ino
    small.index.store_deferred()
    row = small.index._database.rows(
        "SELECT kind, ino, uid, gid FROM feed WHERE ino = ? ORDER BY serial DESC LIMIT 2", ino
    )
    assert (1, ino, ME.uid, ME.gid) in row


def test_every_column_of_what_the_feed_follows_is_copied() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            connection.executescript(migration)

        def columns_of(table: str) -> set[str]:
            return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}

        assert tuple(row[1] for row in connection.execute("PRAGMA table_info(feed)")) == COLUMNS
        for _, table, _, columns, named in copying.TABLES:
            assert set(columns.split(", ")) == columns_of(table)
            assert set(named.split(", ")) <= columns_of("feed")


def test_a_full_filesystem_ends_the_feed_and_readers_begin_anew(small: LooseVolume) -> None:
    feed, database = small.index.feed, small.index._database
    feed.register("one")
    for number in range(20):
        make(small, b"%d" % number)
    generation, last = feed.generation, feed.last()
    assert database.wal.preallocation is not None
    database.wal.preallocation.exhausted = True
    assert small.index._database.is_full
    feed.shed()
    assert (feed.is_written, feed.last(), feed.generation != generation) == (False, last, True)
    ((count,),) = database.rows("SELECT count(*) FROM feed")
    assert count == 1
    feed.register("one", anew=True)
    assert not feed.is_written
    database.wal.preallocation.exhausted = False
    feed.register("one", anew=True)
    make(small, b"again")
    assert feed.last() > last


def test_objects_are_freed_only_after_the_feed_was_copied(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.data.write(ino, 0, b"bytes")
    there: list[bool] = []
    small.index.feed.catch_up = lambda: there.append(small.flash_object(ino).exists())
    small.fs.migrator.place(ino, 0, keep_mirror=False, paced=free)
    small.fs.reclaimer.drain()
    assert there == [True]
    assert not small.flash_object(ino).exists()
    small.fs.names.unlink(ROOT, b"file")
    small.index.feed.catch_up = lambda: there.append(small.disk_object(ino).exists())
    small.fs.reclaimer.add_leftovers()
    small.fs.reclaimer.drain()
    assert there == [True, True]
    assert not small.disk_object(ino).exists()
