"""What each move does to the objects, and in which order."""

from __future__ import annotations

import pytest

from tests.fs.calls import DIRECTORY, file_of, make
from tests.fs.consistency import check, content
from tests.fs.migrating import (
    SPARSE,
    SPARSE_DATA,
    free,
    make_sparse,
    mirror,
    moved_bytes,
    must,
    objects,
    place,
    state,
)
from tests.fs.scenarios import HEAD, pattern
from tests.support.volumes import LooseVolume
from tierfs.common.extents import WHOLE_FILE
from tierfs.fs.allocation import Limits, reserve
from tierfs.fs.migration_plan import Migrated
from tierfs.fs.tiers import COPY_CHUNK, PUT_CHUNK
from tierfs.metadata.inodes import ROOT
from tierfs.storage.objects import Space

GIB = 1024**3
DATA = pattern(3 * HEAD)
FILE = b"file"


def evicted(volume: LooseVolume, data: bytes = DATA) -> int:
    ino = file_of(volume, data)
    must(place(volume, FILE, 0))
    return ino


# ---------------------------------------------------------------- transitions


@pytest.mark.parametrize("prefix", [0, HEAD, WHOLE_FILE])
def test_each_move_gives_the_file_a_new_data_version(small: LooseVolume, prefix: int) -> None:
    """A read that began before it may not end with its bytes: the place may be the same again."""
    file_of(small, pattern(3 * HEAD))
    if prefix == HEAD:
        must(place(small, b"file", 0))
    before = small.find(b"file").version
    must(place(small, b"file", prefix))
    assert small.find(b"file").version == before + 1
    must(place(small, b"file", 0 if prefix else HEAD))
    assert small.find(b"file").version == before + 2


@pytest.mark.parametrize("keep_mirror", [True, False])
@pytest.mark.parametrize("size", [0, 1, HEAD - 1, HEAD, HEAD + 1, 2 * HEAD, 3 * HEAD])
def test_a_file_goes_round_the_tiers(small: LooseVolume, size: int, *, keep_mirror: bool) -> None:
    data = pattern(size)
    ino = file_of(small, data)
    for prefix in (0, HEAD, WHOLE_FILE, HEAD, 0, WHOLE_FILE, 0, 100, HEAD):
        must(place(small, FILE, prefix, keep_mirror=keep_mirror))
        inode = small.fs.attributes.get(ino)
        assert inode.prefix == prefix
        assert not inode.mirrored or keep_mirror
        assert content(small, FILE) == data
        check(small, trimmed=True)
    assert place(small, FILE, HEAD).outcome == "nothing"
    small.reopen()
    assert content(small, FILE) == data


def test_eviction_leaves_the_whole_file_on_disk(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    assert place(small, FILE, 0) == Migrated(ino, "moved", HEAD, HEAD)
    assert objects(small, ino) == (None, DATA)
    assert moved_bytes(small, "flash", "disk") == HEAD


def test_a_long_copy_rests_between_the_parts_of_a_chunk(small: LooseVolume) -> None:
    data = pattern(COPY_CHUNK + PUT_CHUNK + 5)
    ino, asked = file_of(small, data), list[int]()
    small.os.clear()
    moved = small.fs.migrator.place(ino, WHOLE_FILE, keep_mirror=False, paced=asked.append)
    whole, rest = divmod(len(data) - HEAD, PUT_CHUNK)
    assert (moved.outcome, moved.copied) == ("moved", len(data) - HEAD)
    assert asked == [PUT_CHUNK] * whole + [rest]
    assert len([label for label in small.os.labels if label.endswith(".pread")]) == 2
    assert objects(small, ino) == (data, None)


def test_what_is_mirrored_is_evicted_without_a_copy(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    assert mirror(small, FILE) == [Migrated(ino, "moved", HEAD)]
    small.os.clear()
    assert place(small, FILE, 0) == Migrated(ino, "moved", 0, HEAD)
    assert not [label for label in small.os.labels if label.endswith((".pwrite", ".pread"))]
    assert objects(small, ino) == (None, DATA)


def test_promotion_keeps_the_disk_object_as_the_mirror(small: LooseVolume) -> None:
    ino = evicted(small)
    must(place(small, FILE, HEAD))
    assert objects(small, ino) == (DATA[:HEAD], DATA)
    assert state(small.find(FILE)) == (HEAD, True)
    assert mirror(small, FILE) == [Migrated(ino, "nothing")]
    must(place(small, FILE, WHOLE_FILE))
    assert objects(small, ino) == (DATA, DATA)
    assert moved_bytes(small, "disk", "flash") == len(DATA)


def test_promotion_without_a_mirror_frees_the_disk(small: LooseVolume) -> None:
    ino = evicted(small)
    must(place(small, FILE, WHOLE_FILE, keep_mirror=False))
    assert objects(small, ino) == (DATA, None)


def test_a_mirror_whose_object_is_lost_is_not_relied_on(small: LooseVolume) -> None:
    ino = file_of(small, DATA[:HEAD])
    must(mirror(small, FILE)[0])
    small.disk_object(ino).unlink()
    assert place(small, FILE, 0) == Migrated(ino, "moved", HEAD, HEAD)
    assert objects(small, ino) == (None, DATA[:HEAD])


def test_times_and_links_stay_as_they_are(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.names.link(ino, ROOT, b"other")
    before = small.fs.attributes.get(ino)
    small.clock.tick()
    for prefix in (0, HEAD, WHOLE_FILE, 0):
        must(place(small, FILE, prefix))
    after = small.fs.attributes.get(ino)
    assert after == before._replace(prefix=0, version=after.version)
    assert content(small, b"other") == DATA


def test_what_is_no_file_with_a_name_does_not_move(small: LooseVolume) -> None:
    directory = make(small, b"dir", DIRECTORY).ino
    gone = file_of(small, DATA)
    small.fs.names.unlink(ROOT, FILE)
    move = small.fs.migrator
    assert move.place(directory, 0, keep_mirror=True, paced=free).outcome == "nothing"
    assert move.place(gone, 0, keep_mirror=True, paced=free).outcome == "gone"
    assert [moved.outcome for moved in move.mirror([directory, gone, 10**9], paced=free)] == [
        "nothing",
        "gone",
        "gone",
    ]
    assert small.fs.reads.read(gone, 0, 10**6) == DATA


def test_holes_stay_holes(small: LooseVolume) -> None:
    make_sparse(small)
    ino = small.find(SPARSE).ino
    blocks = small.fs.attributes.blocks(ino, wait=True)
    for prefix in (WHOLE_FILE, HEAD, 0, HEAD, WHOLE_FILE, 0):
        must(place(small, SPARSE, prefix))
        assert content(small, SPARSE) == SPARSE_DATA
        assert small.fs.attributes.blocks(ino, wait=True) == blocks
    must(place(small, SPARSE, WHOLE_FILE, keep_mirror=False))
    must(mirror(small, SPARSE)[0])
    assert small.fs.attributes.blocks(ino, wait=True) == blocks
    assert objects(small, ino) == (SPARSE_DATA, SPARSE_DATA)


def test_old_bytes_do_not_show_in_a_hole(small: LooseVolume) -> None:
    """A power cut can leave a part of a copy in the target, and take back the row in ``cut``."""
    make_sparse(small)
    ino = small.find(SPARSE).ino
    must(place(small, SPARSE, WHOLE_FILE, keep_mirror=False))
    small.disk_object(ino).write_bytes(pattern(3 * HEAD))
    must(mirror(small, SPARSE)[0])
    assert objects(small, ino) == (SPARSE_DATA, SPARSE_DATA)
    must(place(small, SPARSE, 0))
    small.flash_object(ino).write_bytes(pattern(2 * HEAD))
    must(place(small, SPARSE, WHOLE_FILE))
    assert content(small, SPARSE) == SPARSE_DATA


# ---------------------------------------------------------------- order


STEPS = (".pwrite", ".fdatasync", ".syncfs", ".unlink", ".ftruncate", "index.commit", "index.sync")


def steps(volume: LooseVolume) -> list[str]:
    return [label for label in volume.os.labels if label.endswith(STEPS) or label[:5] == "move."]


def test_the_source_goes_when_the_commit_is_durable(small: LooseVolume) -> None:
    file_of(small, DATA[:HEAD])
    small.os.clear()
    must(place(small, FILE, 0))
    assert steps(small) == [
        "flash.fdatasync",  # it is dirty
        "index.commit",
        "index.commit",  # the row in cut
        "disk.pwrite",
        "move.copied",
        "disk.fdatasync",
        "move.synced",
        "index.commit",
        "move.committed",
        "index.sync",
        "flash.unlink",
        "index.commit",  # the row in cut
        "move.freed",
    ]


def test_a_promotion_that_frees_nothing_needs_no_sync_of_the_index(small: LooseVolume) -> None:
    evicted(small)
    small.os.clear()
    must(place(small, FILE, HEAD))
    assert steps(small) == [
        "index.commit",
        "flash.pwrite",
        "move.copied",
        "flash.fdatasync",
        "disk.fdatasync",
        "move.synced",
        "index.commit",
        "move.committed",
    ]


def test_many_mirrors_take_one_sync_and_one_commit(small: LooseVolume) -> None:
    names = [b"%d" % number for number in range(20)]
    for name in names:
        file_of(small, DATA[:100], name)
    small.fs.syncer.checkpoint()
    small.os.clear()
    assert [moved.outcome for moved in mirror(small, *names)] == ["moved"] * 20
    assert steps(small) == [
        "index.commit",
        *["disk.pwrite"] * 20,
        "move.copied",
        "flash.syncfs",
        "disk.syncfs",
        "move.synced",
        "index.commit",
        "move.committed",
    ]
    check(small, trimmed=True)


# ---------------------------------------------------------------- room


def test_a_promotion_leaves_the_reserve_alone(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = evicted(small)
    kept = reserve(GIB)
    monkeypatch.setattr(
        small.volume._flash, "space", lambda: Space(GIB, GIB, kept + HEAD - 1, 1000, 1000)
    )
    assert place(small, FILE, HEAD) == Migrated(ino, "no-room")
    must(place(small, FILE, HEAD - 1))
    small.fs.allocator.limits(Limits(HEAD, reserve=kept - 1))
    must(place(small, FILE, 0))
    must(place(small, FILE, HEAD))


def test_no_room_on_flash(small: LooseVolume) -> None:
    ino = evicted(small)
    small.os.full = {"flash.pwrite"}
    assert place(small, FILE, HEAD) == Migrated(ino, "no-room")
    assert state(small.find(FILE)) == (0, False)
    small.fs.reclaimer.drain()
    check(small, trimmed=True)


def test_no_room_on_disk(small: LooseVolume) -> None:
    file_of(small, DATA[:HEAD])
    small.os.full = {"disk.pwrite"}
    assert place(small, FILE, 0).outcome == "no-room"
    assert mirror(small, FILE)[0].outcome == "no-room"
    assert content(small, FILE) == DATA[:HEAD]
    small.fs.reclaimer.drain()
    check(small, trimmed=True)
