"""The change feed: a copy of the index, and what the feed says since, are the index."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import stat
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.fs.adopting import adopt
from tests.fs.calls import FILE, ME, make
from tests.fs.migrating import free
from tests.metadata.rows import inode as inode_row
from tests.support.volumes import LooseVolume
from tierfs.common.errors import FsError, TierfsError
from tierfs.daemon.changes import FROM_READER, ChangeFeed
from tierfs.fs.attributes import Changes as Attributes
from tierfs.fs.namespace import EXCHANGE
from tierfs.metadata import copying
from tierfs.metadata.adopted import Original
from tierfs.metadata.copying import copy_index
from tierfs.metadata.database import Database
from tierfs.metadata.feed import COLUMNS, TrimmedAway
from tierfs.metadata.feed_copy import FeedCopier, make_segment, read_segment
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.metadata.restoring import RestoredIndex
from tierfs.metadata.schema import MIGRATIONS
from tierfs.metadata.sqlite import Row

TABLES = {
    "inode": "ino",
    "entry": "parent, name",
    "xattr": "ino, name",
    "pin": "ino",
    "dirty": "ino",
    "adopted": "ino",
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
        self._with_wrong_original: set[int] = set()
        """Inodes that were adopted, and cannot be read or written any more."""

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
                self._names = sorted({*self._names, new} - ({name} if new != name else set()))
        elif roll < 0.65:
            (fs.names.rmdir if stat.S_ISDIR(inode.mode) else fs.names.unlink)(ROOT, name)
            self._names.remove(name)
        elif roll < 0.72 and not stat.S_ISLNK(inode.mode):
            self._change_label(inode)
        elif roll < 0.8:
            self._change_attributes(inode)
        elif roll < 0.84 and not stat.S_ISDIR(inode.mode):
            with suppress(FsError):  # it may have that name already
                fs.names.link(inode.ino, ROOT, name + b"+")
                self._names.append(name + b"+")
        elif roll < 0.86:
            fs.names.rename(ROOT, name, ROOT, chance.choice(self._names), EXCHANGE)
        elif roll < 0.88:
            with self._volume.index.transaction():
                self._volume.index.pins_and_requests.pin(Pin(inode.ino, chance.randrange(99)))
        elif roll < 0.92:
            self._adopt() if roll > 0.9 else self._change_an_original(inode.ino)
        elif roll < 0.97 and stat.S_ISREG(inode.mode):
            self._write(inode.ino)
        else:
            self._volume.volume.checkpoints.make()

    def _write(self, ino: int) -> None:
        """And now and then a sync."""
        data, chance = self._volume.fs.data, self._chance
        if ino in self._with_wrong_original:
            return
        data.write(ino, chance.randrange(5000), chance.randbytes(3000))
        if chance.random() < 0.5:
            data.sync(ino)

    def _adopt(self) -> None:
        """Some files, two of which have further names, and one of these from before."""
        self._made += 1
        tree = self._volume.settings.disk.with_name(f"tree-{self._made}")
        below = tree / f"below-{self._made}"
        below.mkdir(parents=True)
        names = [f"adopted-{self._made}-{number}" for number in range(self._chance.randrange(1, 9))]
        for name in names:
            (tree / name).write_bytes(b"bytes" * self._chance.randrange(3))
            (below / name).write_bytes(b"others")
        os.setxattr(tree / names[0], "user.label", b"adopted")
        os.link(tree / names[-1], below / "further")
        adopt(self._volume, tree)
        again = f"again-{self._made}"
        os.link(below / "further", below / again)
        adopt(self._volume, tree)
        self._names += map(os.fsencode, names)

    def _change_an_original(self, ino: int) -> None:
        originals, chance = self._volume.index.originals, self._chance
        with self._volume.index.transaction():
            if originals.get(ino) is not None and chance.random() < 0.5:
                originals.forget(ino)
            else:
                self._with_wrong_original.add(ino)
                originals.put(Original(ino, *(chance.randrange(-(2**63), 2**63) for _ in range(4))))

    def _change_label(self, inode: Inode) -> None:
        xattrs, label = self._volume.fs.xattrs, b"user.%d" % self._chance.randrange(3)
        with suppress(FsError):  # there may be none to remove
            if self._chance.random() < 0.7:
                xattrs.set(inode.ino, label, self._chance.randbytes(9))
            else:
                xattrs.remove(inode.ino, label)

    def _change_attributes(self, inode: Inode) -> None:
        """One attribute, or several."""
        time = self._chance.randrange(10**18)
        changed = self._chance.choice(
            [
                Attributes(mode=self._chance.choice([0o600, 0o644])),
                Attributes(uid=self._chance.randrange(9)),
                Attributes(mtime=time),
                Attributes(atime=time),
                Attributes(atime=time, mtime=time),
                Attributes(),
            ]
        )
        self._volume.fs.attributes.set(inode.ino, changed)

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
    before = [serial for serial, *_ in feed.read(0, 10)]
    feed.advance("slow", before[-1])
    feed.trim()
    assert [serial for serial, *_ in feed.read(before[-1], 1)] == [before[-1] + 1]
    ((rows,),) = small.index._database.rows("SELECT count(*) FROM feed")
    assert rows < 20
    with pytest.raises(TrimmedAway):
        feed.read(0, 1)
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
    feed.trim(most=6)
    ((first,),) = small.index._database.rows("SELECT min(serial) FROM feed")
    assert first == feed.last() - 6
    small.close()


def test_owner_changes_reach_the_feed_as_after_images(small: LooseVolume) -> None:
    small.index.feed.register("one")
    ino = make(small, b"file").ino
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in small.index.feed.read(0, 100)]
    images = [row for row in rows if (row["kind"], row["ino"]) == (1, ino)]
    assert [(row["uid"], row["gid"]) for row in images] == [(ME.uid, ME.gid)]


@pytest.mark.parametrize("seed", range(2))
def test_a_reader_may_stop_behind_any_change(small: LooseVolume, seed: int) -> None:
    feed = small.index.feed
    feed.register("one")
    changes = Changes(small, seed)
    for _ in range(60):
        changes.make()
    every = feed.read(0, 10_000)
    serials = [serial for serial, *_ in every]
    assert serials == sorted(set(serials))
    assert serials[-1] == feed.last()

    def told(rows: list[Row]) -> dict[tuple[object, ...], Row]:
        """What each row is at the end, by its key."""
        found: dict[tuple[object, ...], Row] = {}
        for _, kind, ino, parent, name, *others in rows:
            key = (parent, name) if kind in {3, 4} else (ino, name, (kind + 1) // 2)
            found[key] = (kind, ino, parent, name, *others)
        return found

    for at, serial in enumerate(serials):
        assert told(every[: at + 1]) | told(feed.read(serial, 10_000)) == told(every)
    pieces = feed.read(0, 2)
    while more := feed.read(pieces[-1][0], 2):
        assert more[0][0] > pieces[-1][0]
        pieces += more
    assert told(pieces) == told(every)


def test_a_name_comes_with_its_inodes(small: LooseVolume) -> None:
    """Before the last of them, and each once."""
    directory = make(small, b"directory", stat.S_IFDIR | 0o755).ino
    feed = small.index.feed
    after = feed.register("one")
    ino = make(small, b"file").ino

    def changes() -> list[tuple[int, ...]]:
        return [(kind, ino) for _, kind, ino, *_ in feed.read(after, 100)]

    assert changes() == [(1, ino), (1, ROOT), (3, ino)]
    after = feed.last()
    small.fs.names.rename(ROOT, b"file", directory, b"file")
    found = changes()[:5]  # and the deferred times of the root
    assert found == [(1, ROOT), (4, ino), (1, ino), (1, directory), (3, ino)]
    after = feed.last()
    small.fs.attributes.set(ino, Attributes(mtime=1))
    assert changes() == [(1, ino)]


def test_adopted_names_are_told_as_they_are_by_then(small: LooseVolume, home: Path) -> None:
    """One row stands for all of a directory; what was moved or removed since has its own."""
    (home / "tree").mkdir()
    for name in ("one", "two", "three"):
        (home / "tree" / name).write_bytes(b"bytes")
    other = make(small, b"other", stat.S_IFDIR | 0o755).ino
    feed = small.index.feed
    after = feed.register("one")
    adopt(small, home / "tree")
    told = [row for row in feed.read(after, 100) if row[2] != ROOT]
    inos = [small.find(name).ino for name in (b"one", b"two", b"three")]
    assert sorted(row[1:3] for row in told) == sorted(
        (kind, ino) for ino in inos for kind in (1, 3, 13)
    )
    assert feed.last() - after < 3 * len(told)
    small.fs.names.rename(ROOT, b"one", other, b"one")
    small.fs.names.unlink(ROOT, b"two")
    make(small, b"made")
    small.index.store_deferred()
    names = [(row[1], row[3], row[4]) for row in feed.read(after, 100) if row[1] in {3, 4}]
    assert names[0] == (3, ROOT, b"three")
    assert set(names[1:]) == {
        *((4, ROOT, b"one"), (3, other, b"one"), (4, ROOT, b"two")),
        (3, ROOT, b"made"),
    }
    assert {row[2] for row in feed.read(after, 100) if row[1] == 13} >= {inos[0], inos[2]}
    latest, inodes = feed.latest(feed.last() - after)
    assert (ROOT, b"three") in latest
    assert {ROOT, other} <= set(inodes)


def test_adopting_that_fails_leaves_the_feed_as_it_was(
    small: LooseVolume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "tree").mkdir()
    (home / "tree" / "one").write_bytes(b"bytes")
    feed = small.index.feed
    feed.register("one")

    def fail(_originals: object) -> None:
        raise FsError(errno.ENOSPC)

    with monkeypatch.context() as patched:
        patched.setattr(small.index.originals, "put_all", fail)
        with pytest.raises(FsError):
            adopt(small, home / "tree")
    after = feed.last()
    ino = make(small, b"file").ino
    assert (3, ino) in [row[1:3] for row in feed.read(after, 9)]


def test_a_file_without_a_name_is_told_as_well(small: LooseVolume) -> None:
    feed = small.index.feed
    after = feed.register("one")
    ino = small.fs.names.make_nameless(ROOT, FILE, ME, exclusive=False).ino
    assert [row[1:3] for row in feed.read(after, 9)] == [(1, ino)]
    small.fs.names.link(ino, ROOT, b"name")
    assert (3, ino) in [row[1:3] for row in feed.read(after, 9)]


def test_an_inode_is_read_as_it_is_by_then(small: LooseVolume) -> None:
    feed = small.index.feed
    after = feed.register("one")
    ino = make(small, b"file").ino
    small.fs.attributes.set(ino, Attributes(mode=0o640))
    images = [row[COLUMNS.index("mode")] for row in feed.read(after, 100) if row[1:3] == (1, ino)]
    assert [stat.S_IMODE(mode) for mode in images] == [0o640, 0o640]
    small.fs.names.unlink(ROOT, b"file")
    small.fs.names.forget(ino)
    small.fs.reclaimer.drain()
    assert {row[1] for row in feed.read(after, 100) if row[2] == ino} == {2, 3, 4}


def test_what_is_synced_of_a_new_file_comes_with_its_inode(small: LooseVolume) -> None:
    feed = small.index.feed
    ino = make(small, b"file").ino
    after = feed.register("one")
    small.fs.data.write(ino, 0, bytes(100))
    small.fs.data.sync(ino)
    ((_, kind, told, *image),) = feed.read(after, 100)
    assert (kind, told, image[COLUMNS.index("number") - 3]) == (1, ino, 100)


def test_an_inode_of_a_segment_that_does_not_say_what_is_synced(home: Path) -> None:
    with closing(sqlite3.connect(home / "index.db", isolation_level=None)) as connection:
        for migration in MIGRATIONS:
            connection.executescript(migration)
        row = inode_row(7)._asdict()
        values = {"kind": 1, "value": row.pop("target")} | row
        connection.execute(
            f"INSERT INTO feed ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
            tuple(values.values()),
        )
        copying.replay(connection, 0)
        assert connection.execute("SELECT synced FROM inode WHERE ino = 7").fetchall() == [(0,)]


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


def test_rows_that_the_feed_does_not_follow_go_with_their_inodes(
    small: LooseVolume, home: Path
) -> None:
    """Of a truncation or a request that was pending when the copy was made."""
    index, names = small.index, (b"gone", b"stays")
    after = index.feed.register("test")
    inos = {name: make(small, name).ino for name in names}
    with index.transaction():
        for ino in inos.values():
            index.pending_truncations.add(ino)
            index.pins_and_requests.request(Request(ino, 0))
    copy, segment = home / "copy.db", home / "segment.db"
    state = copy_index(
        index.path, copy, MEMORY, checkpoints=index.checkpoint_for_snapshot(), after=after
    )
    make_segment(segment, index.feed.generation, state.serial)
    small.fs.names.unlink(ROOT, b"gone")
    small.fs.names.forget(inos[b"gone"], 1)
    small.fs.reclaimer.add_leftovers()
    small.fs.reclaimer.drain()
    assert index.inodes.find(inos[b"gone"]) is None
    with closing(FeedCopier(index.path, index.sync)) as copier:
        copier.write_to(segment)
        copier.copy()
    with closing(RestoredIndex(copy)) as restored:
        assert restored.replay(segment) > 0
    with closing(sqlite3.connect(copy)) as connection:
        for table in ("cut", "request"):
            rows = connection.execute(f"SELECT ino FROM {table}").fetchall()  # noqa: S608
            assert rows == [(inos[b"stays"],)], table


def test_nobody_is_told_a_position_while_no_changes_are_written(
    volume: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes from there on would be missing, and their feed have the generation that was told."""
    feed = ChangeFeed(volume.index)
    before = feed.changes("reader", FROM_READER)
    with monkeypatch.context() as full:
        full.setattr(Database, "is_full", property(lambda _: True))
        volume.index.feed.shed()
        for reader in ("reader", "another"):
            with pytest.raises(TierfsError, match="filesystem of the index is full"):
                feed.changes(reader, FROM_READER)
        make(volume, b"missed", FILE)
    after = feed.changes("reader", FROM_READER)
    assert after["generation"] != before["generation"]
    make(volume, b"seen", FILE)
    names = {row.get("name") for row in feed.changes("reader", after["next"])["changes"]}
    assert {"seen"} == names - {None}
