"""Who goes first when others want the file that is being moved, step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.fs.calls import file_of
from tests.fs.consistency import check, content
from tests.fs.migrating import (
    free,
    mirror,
    must,
    objects,
    place,
    small_chunks,
    state,
)
from tests.fs.scenarios import HEAD, pattern
from tests.support.volumes import LooseVolume
from tierfs.common.extents import WHOLE_FILE, Extent
from tierfs.fs.migration_plan import Migrated, MigrationStopped
from tierfs.fs.tiers import Copy
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.storage.objects import ObjectStore

GIB = 1024**3
DATA = pattern(3 * HEAD)
FILE = b"file"
LOAD, WRITE = Copy.load, ObjectStore.write_by


# ---------------------------------------------------------------- others want the file, too


def meanwhile(
    volume: LooseVolume, prefix: int, act: Callable[[], object], *, after: int = 0
) -> Migrated:
    """Move the file, and let ``act`` happen before one of its chunks is copied."""
    chunks = iter(range(100))

    def paced(_: int) -> None:
        if next(chunks) == after:
            act()

    return volume.fs.migrator.place(volume.find(FILE).ino, prefix, keep_mirror=True, paced=paced)


def stop() -> None:
    raise MigrationStopped


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(
    "act", ["write", "write on the other tier", "cut", "fail to write", "fail to extend"]
)
def test_a_file_that_changes_is_given_up(small: LooseVolume, way: str, act: str) -> None:
    ino = file_of(small, DATA)
    expected, changed = bytearray(DATA), DATA[:100][::-1]
    target = 0 if way == "down" else WHOLE_FILE

    def change() -> None:
        if act == "cut":
            small.fs.data.truncate(ino, 10)
            del expected[10:]
        elif act == "fail to write":
            small.os.full = {"disk.pwrite"}
            with pytest.raises(OSError, match="No space"):
                small.fs.data.write(ino, 2 * HEAD, changed)
            small.os.full = ()
        elif act == "fail to extend":
            small.os.full = {"disk.ftruncate"}
            with pytest.raises(OSError, match="No space"):
                small.fs.data.truncate(ino, 5 * HEAD)
            small.os.full = ()
        else:
            at = 0 if (act == "write") == (way == "down") else 2 * HEAD
            small.fs.data.write(ino, at, changed)
            expected[at : at + 100] = changed

    assert meanwhile(small, target, change).outcome == "changed"
    assert small.find(FILE).prefix == HEAD
    assert content(small, FILE) == expected
    small.fs.reclaimer.drain()
    check(small, trimmed=True)


class Overtaking:
    """A mover that copies a chunk before a write that began earlier reaches flash."""

    def __init__(self, volume: LooseVolume, way: str) -> None:
        self._volume = volume
        self._way = way
        self._thread = threading.Thread(target=self._move)
        self._loaded, self._written = threading.Event(), threading.Event()
        self.outcome = ""

    def load_of(self) -> Callable[[Copy, Extent], bytes]:
        """In place of ``Copy.load``."""

        def load(copy: Copy, chunk: Extent) -> bytes:
            data = LOAD(copy, chunk)
            self._loaded.set()
            assert self._written.wait(10)
            return data

        return load

    def begin(self, store: ObjectStore) -> None:
        if store.name == "flash" and not self._thread.ident:
            self._thread.start()
            assert self._loaded.wait(10)

    def end(self) -> None:
        self._written.set()
        self._thread.join()

    def _move(self) -> None:
        mirrors = self._way == "mirror"
        moved = mirror(self._volume, FILE)[0] if mirrors else place(self._volume, FILE, 0)
        self.outcome = moved.outcome
        self._loaded.set()


@pytest.mark.parametrize("way", ["mirror", "down"])
def test_a_change_that_began_before_the_move_and_fails_leaves_no_old_copy(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """What such a write put on flash is not told by a new data version."""
    ino = file_of(small, DATA)
    mover = Overtaking(small, way)

    def write(store: ObjectStore, fd: int, offset: int, data: bytes | memoryview) -> None:
        mover.begin(store)
        WRITE(store, fd, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(Copy, "load", mover.load_of())
        patch.setattr(ObjectStore, "write_by", write)
        small.os.full = {"disk.pwrite"}
        with pytest.raises(OSError, match="No space"):
            small.fs.data.write(ino, HEAD - 4, b"newnew!!")
        small.os.full = ()
    mover.end()
    assert mover.outcome == "changed"
    assert content(small, FILE)[HEAD - 4 : HEAD] == b"newn"
    check(small)


def test_nothing_arrives_late_in_an_object_that_is_used_again(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptied and spilled, the file has a hole where the move was about to put old bytes."""
    ino = file_of(small, DATA)
    load = Copy.load

    def load_late(copy: Copy, chunk: Extent) -> bytes:
        data = load(copy, chunk)
        small.fs.data.truncate(ino, 0)
        small.os.full = {"flash.pwrite", "flash.ftruncate"}
        small.fs.data.write(ino, 3 * HEAD, b"end")
        small.os.full = ()
        return data

    with monkeypatch.context() as patch:
        patch.setattr(Copy, "load", load_late)
        assert place(small, FILE, 0).outcome == "changed"
    assert content(small, FILE) == bytes(3 * HEAD) + b"end"
    small.fs.reclaimer.drain()
    check(small, trimmed=True)


def test_a_file_that_is_unlinked_on_the_way_leaves_nothing(small: LooseVolume) -> None:
    ino = file_of(small, DATA)

    def unlink() -> None:
        small.fs.names.unlink(ROOT, FILE)
        small.fs.names.forget(ino)
        small.fs.reclaimer.drain()

    assert meanwhile(small, 0, unlink).outcome == "gone"
    small.fs.reclaimer.drain()
    assert objects(small, ino) == (None, None)
    check(small, trimmed=True)


def test_a_file_that_is_renamed_and_linked_on_the_way_arrives(small: LooseVolume) -> None:
    ino = file_of(small, DATA)

    def rename() -> None:
        small.fs.names.link(ino, ROOT, b"link")
        small.fs.names.rename(ROOT, FILE, ROOT, b"renamed")
        small.fs.reclaimer.drain()

    assert meanwhile(small, 0, rename).outcome == "moved"
    assert content(small, b"renamed") == content(small, b"link") == DATA
    check(small, trimmed=True)


def test_the_reclaimer_leaves_what_is_on_its_way_alone(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.data.truncate(ino, 2 * HEAD)
    must(meanwhile(small, WHOLE_FILE, small.fs.reclaimer.drain))
    assert content(small, FILE) == DATA[: 2 * HEAD]
    small.fs.reclaimer.drain()
    check(small, trimmed=True)


def test_a_read_that_meets_the_freeing_of_its_source_is_done_again(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel zeroes the end of an object that it cuts, also for who reads it just then."""
    ino = file_of(small, DATA)
    must(place(small, FILE, WHOLE_FILE, keep_mirror=False))
    flash = small.volume._flash
    read = flash.read

    def read_late(_ino: int, _offset: int, length: int, **_how: bool) -> bytes:
        monkeypatch.setattr(flash, "read", read)
        must(place(small, FILE, HEAD - 1))
        return bytes(length)

    monkeypatch.setattr(flash, "read", read_late)
    assert small.fs.reads.read(ino, 0, len(DATA)) == DATA


def test_two_do_not_move_one_file(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    others: list[Migrated] = []

    def other() -> None:
        others.append(place(small, FILE, WHOLE_FILE))
        others.extend(mirror(small, FILE))

    must(meanwhile(small, 0, other))
    assert others == [Migrated(ino, "changed")] * 2


def test_a_move_that_is_stopped_changes_nothing(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    with pytest.raises(MigrationStopped):
        meanwhile(small, 0, stop)
    with pytest.raises(MigrationStopped):
        small.fs.migrator.mirror([ino], paced=lambda _: stop())
    assert state(small.find(FILE)) == (HEAD, False)
    small.fs.reclaimer.drain()
    check(small, trimmed=True)
    must(place(small, FILE, 0))


def test_who_writes_holds_the_file(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    with small.fs.data._locks.hold(ino):
        assert place(small, FILE, 0).outcome == "changed"


# ---------------------------------------------------------------- the reclaimer, in between


@pytest.mark.parametrize("unlinked", [False, True])
def test_what_begins_to_move_while_the_reclaimer_syncs_is_left_alone(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch, *, unlinked: bool
) -> None:
    ino = file_of(small, DATA)
    if unlinked:
        small.fs.names.unlink(ROOT, FILE)
        small.fs.names.forget(ino)
    else:
        small.fs.data.truncate(ino, 10)
    migrations, sync = small.fs.data._migrations, small.index.sync
    with monkeypatch.context() as patch:
        patch.setattr(small.index, "sync", lambda: (sync(), migrations.begin(ino)))
        small.fs.reclaimer.drain()
    assert objects(small, ino) == (DATA[:HEAD], bytes(HEAD) + DATA[HEAD:])
    assert not small.fs.reclaimer.is_idle()
    migrations.end(ino)
    small.fs.reclaimer.drain()
    check(small, trimmed=True)


@pytest.mark.parametrize("way", ["mirror", "down"])
def test_what_the_reclaimer_has_removed_and_is_about_to_say_so_is_no_damage(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    ino = file_of(small, DATA)
    small.fs.names.unlink(ROOT, FILE)
    small.fs.names.forget(ino)
    reclaimer, migrator = small.fs.reclaimer, small.fs.migrator
    remove, outcomes = reclaimer._remove_objects, []

    def remove_and_move(inode: Inode, of: Callable[[int], None]) -> bool:
        removed = remove(inode, of)
        if way == "mirror":
            moved = migrator.mirror([ino], paced=free)[0]
        else:
            moved = migrator.place(ino, 0, keep_mirror=True, paced=free)
        outcomes.append(moved.outcome)
        return removed

    with monkeypatch.context() as patch:
        patch.setattr(reclaimer, "_remove_objects", remove_and_move)
        reclaimer.drain()
    assert outcomes == ["gone"]
    check(small, trimmed=True)


def test_the_row_in_cut_stays_for_a_move_that_was_made_since(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reclaimer has trimmed the file and is about to say so, and a copy is left over again."""
    ino = file_of(small, DATA[:HEAD])
    small.fs.data.truncate(ino, HEAD - 1)
    reclaimer = small.fs.reclaimer
    trim = reclaimer._trim_objects

    def trim_and_move(inode: Inode) -> bool:
        trimmed = trim(inode)
        with pytest.raises(MigrationStopped), small_chunks():
            meanwhile(small, 0, stop, after=1)
        return trimmed

    with monkeypatch.context() as patch:
        patch.setattr(reclaimer, "_trim_objects", trim_and_move)
        reclaimer.drain()
    assert small.index.pending_truncations.all() == [ino]
    assert objects(small, ino)[1] is not None
    small.abandon()
    small.open()
    check(small, trimmed=True)
