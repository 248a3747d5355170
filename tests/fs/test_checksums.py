"""Checksums: who takes them, for which data version they hold, and what ends that."""

from __future__ import annotations

import errno

import pytest
from xxhash import xxh3_128

from tests.fs.calls import fails, file_of
from tests.fs.damaging import flip, verify
from tests.fs.migrating import SPARSE, SPARSE_DATA, make_sparse, mirror, must, place
from tests.fs.scenarios import FILES, HEAD, contents, populate
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import Damage, IndexFailed
from tierfs.common.extents import WHOLE_FILE
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.checksums import Checksum


def checksum(volume: LooseVolume, name: bytes) -> Checksum | None:
    """What holds of a file of the root."""
    inode = volume.find(name)
    return volume.index.checksums.find(inode.ino, inode.version)


def known(volume: LooseVolume, name: bytes) -> Checksum:
    found = checksum(volume, name)
    assert found is not None
    return found


@pytest.fixture
def full(small: LooseVolume) -> LooseVolume:
    """A volume with the files of ``scenarios``, all of them synced."""
    populate(small)
    make_sparse(small)
    small.fs.syncer.checkpoint()
    return small


def test_a_mirror_gets_the_checksum_of_the_head(full: LooseVolume) -> None:
    full.clock.now = 5_000_000_000
    assert [each.outcome for each in mirror(full, b"small", b"large")] == ["moved", "moved"]
    small, large = known(full, b"small"), known(full, b"large")
    head = xxh3_128(FILES[b"large"][:HEAD]).digest()
    assert (large.length, large.head, large.whole) == (HEAD, head, None)
    whole = xxh3_128(FILES[b"small"]).digest()
    assert (small.length, small.head, small.whole) == (1000, whole, whole)
    assert small.verified == full.clock.now


def test_a_file_that_goes_cold_gets_one(full: LooseVolume) -> None:
    must(place(full, b"small", 0))
    assert known(full, b"small").whole == xxh3_128(FILES[b"small"]).digest()


def test_holes_are_zeros(full: LooseVolume) -> None:
    must(place(full, SPARSE, WHOLE_FILE))
    must(mirror(full, SPARSE)[0])
    copied = known(full, SPARSE)
    assert verify(full, SPARSE) == ["right"]
    assert known(full, SPARSE).whole == copied.whole == xxh3_128(SPARSE_DATA).digest()


def test_it_stays_when_the_file_is_moved(full: LooseVolume) -> None:
    assert verify(full, b"large") == ["right"]
    before = known(full, b"large")
    for prefix in (0, WHOLE_FILE, HEAD):
        must(place(full, b"large", prefix))
        assert known(full, b"large")._replace(version=before.version) == before
    assert verify(full, b"large") == ["right"]


def test_a_write_ends_it_durably_before_a_byte_changes(full: LooseVolume) -> None:
    assert verify(full, b"large") == ["right"]
    full.os.clear()
    full.fs.data.write(full.find(b"large").ino, 10, b"new")
    labels = full.os.labels
    assert labels.index("index.sync") < labels.index("flash.pwrite")
    assert checksum(full, b"large") is None
    full.os.clear()
    full.fs.data.write(full.find(b"large").ino, 20, b"new")
    assert "index.sync" not in full.os.labels


def test_that_of_a_mirrored_head_ends_durably_with_the_mirror(full: LooseVolume) -> None:
    must(mirror(full, b"large")[0])
    ino = full.find(b"large").ino
    full.os.clear()
    full.fs.data.write(ino, HEAD, b"new tail")
    assert "index.sync" not in full.os.labels
    assert checksum(full, b"large") is None
    full.fs.data.write(ino, 10, b"new head")
    labels = full.os.labels
    assert labels.index("index.sync") < labels.index("flash.pwrite")
    full.fs.syncer.checkpoint()
    assert checksum(full, b"large") is None
    assert verify(full, b"large") == ["right"]


def test_the_end_of_a_mirror_ends_the_checksum_by_one_sync(full: LooseVolume) -> None:
    must(mirror(full, b"large")[0])
    assert checksum(full, b"large") is not None
    full.os.clear()
    full.fs.data.write(full.find(b"large").ino, 10, b"new head")
    labels = full.os.labels
    assert labels[: labels.index("flash.pwrite")].count("index.sync") == 1
    assert checksum(full, b"large") is None
    full.fs.syncer.checkpoint()
    assert checksum(full, b"large") is None
    assert verify(full, b"large") == ["right"]


def test_a_write_to_a_file_without_one_syncs_nothing(full: LooseVolume) -> None:
    full.os.clear()
    full.fs.data.write(full.find(b"large").ino, 10, b"new")
    assert "index.sync" not in full.os.labels


def test_a_write_that_may_not_wait_leaves_it(
    full: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify(full, b"large") == ["right"]
    monkeypatch.setattr(type(full.index), "in_memory", property(lambda _: False))
    ino = full.find(b"large").ino
    for _ in range(2):
        with pytest.raises(WouldBlock):
            full.fs.data.write(ino, 10, b"new", wait=False)
    assert checksum(full, b"large")
    assert full.fs.dirty.get(ino) is None
    assert contents(full)[b"large"] == FILES[b"large"]


def test_no_byte_changes_where_the_index_cannot_be_synced(
    full: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("closing left work to the next mount")
    assert verify(full, b"large") == ["right"]
    full.os.fail(Point("index.sync", full.os.labels.count("index.sync")), errno.EIO)
    for _ in range(2):  # no later sync succeeds
        with pytest.raises(IndexFailed):
            full.fs.data.write(full.find(b"large").ino, 10, b"new")
    assert contents(full)[b"large"] == FILES[b"large"]


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_truncation_ends_it(full: LooseVolume, size: int) -> None:
    assert verify(full, b"large") == ["right"]
    full.fs.data.truncate(full.find(b"large").ino, size)
    assert checksum(full, b"large") is None
    assert verify(full, b"large") == ["changed"]
    full.fs.reclaimer.drain()
    full.fs.syncer.checkpoint()
    assert verify(full, b"large") == ["right"]


def test_an_attribute_shows_that_of_the_whole_file(full: LooseVolume) -> None:
    ino, name = full.find(b"large").ino, b"tierfs.checksum"
    must(mirror(full, b"large")[0])
    with fails(errno.ENODATA):
        full.fs.xattrs.get(ino, name)
    assert verify(full, b"large") == ["right"]
    value = full.fs.xattrs.get(ino, name)
    assert value == b"xxh3-128:" + xxh3_128(FILES[b"large"]).hexdigest().encode()
    with fails(errno.EPERM):
        full.fs.xattrs.set(ino, name, value)
    full.fs.data.write(ino, 9999, b"!")
    with fails(errno.ENODATA):
        full.fs.xattrs.get(ino, name)


def test_a_dirty_file_gets_none(small: LooseVolume) -> None:
    file_of(small, b"bytes", b"new")
    assert verify(small, b"new") == ["changed"]
    assert checksum(small, b"new") is None


def test_a_kill_leaves_none_that_is_wrong(full: LooseVolume) -> None:
    assert verify(full, b"large", b"small") == ["right", "right"]
    full.fs.data.write(full.find(b"large").ino, 10, b"new")
    survivor = full.copy(full.home.with_name("survivor"))
    survivor.open()
    assert checksum(survivor, b"large") is None
    assert known(survivor, b"small") == known(full, b"small")
    survivor.fs.syncer.checkpoint()
    assert verify(survivor, b"large", b"small") == ["right", "right"]
    survivor.close()


def test_it_goes_with_the_file(full: LooseVolume) -> None:
    ino = full.find(b"large").ino
    assert verify(full, b"large") == ["right"]
    full.fs.names.unlink(1, b"large")
    full.fs.reclaimer.drain()
    assert full.index._database.rows("SELECT * FROM checksum WHERE ino = ?", ino) == []


@pytest.mark.parametrize("way", ["mirror", "evict"])
def test_no_copy_is_made_of_wrong_bytes(full: LooseVolume, way: str, expect_log: ExpectLog) -> None:
    assert verify(full, b"large") == ["right"]
    before = full.find(b"large")
    flip(full.flash_object(before.ino), 77)
    if way == "mirror":
        expect_log("could not be mirrored")
        assert mirror(full, b"large")[0].outcome == "failed"
    else:
        with pytest.raises(Damage, match="differ from their checksum"):
            place(full, b"large", 0)
    assert full.find(b"large") == before
    assert full.metrics.registry.get_sample_value("tierfs_damage_total") == 1
