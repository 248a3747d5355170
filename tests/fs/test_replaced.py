"""``> file`` replaces the object: it waits for no device, and a power cut brings the old back."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from tests.fs.calls import file_of
from tests.fs.consistency import check, content
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import IndexFailed
from tierfs.fs.allocation import Limits
from tierfs.fsck.check import check as fsck
from tierfs.policy.model import Mark
from tierfs.storage.replaced import REPLACED, Replaced, to_put_back

HEAD = 4096
OLD = bytes(range(1, 251)) * 100
NEW = OLD[::-1]

SIZES = (1, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD)


def index_of(volume: LooseVolume) -> dict[str, bytes]:
    """The index, as a power cut may leave it that takes back all that follows."""
    return {path.name: path.read_bytes() for path in volume.settings.flash.glob("index.db*")}


def survivor_of(
    volume: LooseVolume, home: Path, index: dict[str, bytes] | None = None
) -> LooseVolume:
    """The volume as it is now, with an earlier index, not open."""
    survivor = volume.copy(home / "survivor")
    for name, data in (index or {}).items():
        (survivor.settings.flash / name).write_bytes(data)
    return survivor


def replaced(volume: LooseVolume) -> list[str]:
    """The names of the replaced objects of both tiers."""
    tiers = volume.settings.flash, volume.settings.disk
    return sorted(path.name for tier in tiers for path in (tier / REPLACED).glob("*"))


def rewrite(volume: LooseVolume, ino: int, data: bytes) -> None:
    volume.fs.data.truncate(ino, 0)
    volume.fs.data.write(ino, 0, data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new", SIZES)
def test_a_truncation_that_a_power_cut_takes_back_has_lost_nothing(
    small: LooseVolume, home: Path, size: int, new: int
) -> None:
    ino = file_of(small, OLD[:size])
    small.fs.data.sync(ino)
    before = index_of(small)
    small.os.clear()
    rewrite(small, ino, NEW[:new])
    assert "index.sync" not in small.os.labels or size > HEAD >= new
    survivor = survivor_of(small, home, before)
    assert not fsck(survivor.settings).damage
    survivor.open()
    assert content(survivor, b"file") == OLD[:size]
    rewrite(survivor, ino, NEW[:new])
    assert content(survivor, b"file") == NEW[:new]
    survivor.reopen()
    assert content(survivor, b"file") == NEW[:new]
    assert replaced(survivor) == []
    check(survivor)
    survivor.close()


@pytest.mark.parametrize("size", SIZES)
def test_a_kill_after_it_leaves_the_new_content(small: LooseVolume, home: Path, size: int) -> None:
    ino = file_of(small, OLD[:size])
    small.fs.data.sync(ino)
    rewrite(small, ino, NEW[:10])
    survivor = survivor_of(small, home)
    survivor.open()
    assert content(survivor, b"file") == NEW[:10]
    survivor.fs.reclaimer.drain()
    assert replaced(survivor) == []
    check(survivor)
    survivor.close()


@pytest.mark.parametrize("taken_back", [1, 2])
def test_of_two_replaced_objects_the_right_one_is_put_back(
    small: LooseVolume, home: Path, taken_back: int
) -> None:
    ino = file_of(small, OLD[:100])
    small.fs.data.sync(ino)
    first = index_of(small)
    rewrite(small, ino, NEW[:200])
    small.fs.syncer.sync(ino)  # the objects alone: the index may be durable or not
    second = index_of(small)
    rewrite(small, ino, OLD[:300])
    survivor = survivor_of(small, home, second if taken_back == 1 else first)
    survivor.open()
    assert content(survivor, b"file") == (NEW[:200] if taken_back == 1 else OLD[:100])
    survivor.fs.reclaimer.drain()
    assert replaced(survivor) == []
    survivor.close()


@pytest.mark.parametrize("step", ["open_object", "sync_data"])
def test_a_sync_that_meets_the_replacement_finds_no_damage(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Another program writes the file anew, between two steps of an fsync."""
    ino = file_of(small, OLD)
    small.fs.syncer.checkpoint()
    if step == "sync_data":  # by a descriptor that is held
        small.fs.data.write(ino, 0, NEW)
    small.fs.data.truncate(ino, HEAD - 1)
    flash = small.volume._flash
    proceed = getattr(flash, step)

    def replace_first(*args: int) -> object:
        monkeypatch.setattr(flash, step, proceed)
        small.fs.data.truncate(ino, 0)
        opened = small.os.labels.count("flash.open")
        small.os.fail(Point("flash.open", opened), errno.EIO)
        with pytest.raises(OSError, match="Input/output"):  # after the replacement
            small.fs.data.write(ino, 0, NEW)
        small.fs.reclaimer.drain()
        return proceed(*args)

    small.os.clear()
    with monkeypatch.context() as patch:
        patch.setattr(flash, step, replace_first)
        small.fs.data.sync(ino)
    rewrite(small, ino, NEW)
    small.fs.data.sync(ino)
    assert content(small, b"file") == NEW


@pytest.mark.parametrize("size", [10, HEAD])
@pytest.mark.parametrize("prefix", [0, HEAD])
def test_what_was_written_since_is_not_taken_for_what_was_replaced(
    small: LooseVolume, home: Path, expect_log: ExpectLog, size: int, prefix: int
) -> None:
    """It is cut later, and only once the index is synced: a power cut may need all of it."""
    expect_log("closing left work to the next mount")
    if not prefix:
        small.fs.allocator.limits(Limits(HEAD, high_watermark=Mark(0.0)))
    ino = file_of(small, OLD[: 3 * HEAD])
    small.fs.data.sync(ino)
    rewrite(small, ino, NEW[: 2 * HEAD])
    small.fs.data.sync(ino)
    before = index_of(small)
    small.fs.data.truncate(ino, size)
    small.os.clear()
    small.os.fail(Point("index.sync"), errno.EIO)
    with pytest.raises(IndexFailed):
        small.fs.data.sync(ino)
    small.os.clear()
    survivor = survivor_of(small, home, before)
    survivor.open()
    assert content(survivor, b"file") == NEW[: 2 * HEAD]
    survivor.close()
    small.close()


def test_a_replaced_object_goes_only_when_the_index_is_synced(small: LooseVolume) -> None:
    ino = file_of(small, OLD[:100])
    small.fs.data.sync(ino)
    rewrite(small, ino, NEW[:10])
    assert len(replaced(small)) == 1
    small.os.clear()
    small.fs.reclaimer.drain()
    labels = small.os.labels
    assert labels.index("index.sync") < labels.index("flash.unlink_replaced")
    assert replaced(small) == []


@pytest.mark.parametrize("size", [100, 3 * HEAD])
@pytest.mark.parametrize("new", [0, 10])
def test_an_fsync_after_it_makes_sure_that_the_old_object_stays_away(
    small: LooseVolume, size: int, new: int
) -> None:
    """Else its length would be believed after a power cut."""
    ino = file_of(small, OLD[:size])
    small.fs.data.sync(ino)
    small.fs.data.truncate(ino, 0)
    if new:
        small.fs.data.write(ino, 0, NEW[:new])
    small.os.clear()
    small.fs.data.sync(ino)
    synced = [label for label in small.os.labels if label.endswith("fsync_directory")]
    assert synced[0] == "flash.fsync_directory"
    assert len(synced) == 1 + (size > HEAD)
    assert small.os.labels[-1] == "index.sync"


def test_a_mirror_of_what_was_replaced_is_there_again(
    small: LooseVolume, home: Path, expect_log: ExpectLog
) -> None:
    expect_log("read from its mirror")
    ino = file_of(small, OLD[:1000])
    small.fs.data.sync(ino)
    (migrated,) = small.fs.migrator.mirror([ino], paced=lambda _length: None)
    assert migrated.outcome == "moved"
    before = index_of(small)
    rewrite(small, ino, NEW[: 2 * HEAD])
    survivor = survivor_of(small, home, before)
    survivor.open()
    assert survivor.find(b"file").mirrored
    shutil.rmtree(survivor.settings.flash / "heads" / "00")
    assert content(survivor, b"file") == OLD[:1000]
    survivor.close()


def test_what_is_put_back_is_the_object_of_the_version_that_is_left() -> None:
    found = [Replaced(7, 3), Replaced(7, 9), Replaced(8, 4), Replaced(9, 1)]
    versions = {7: 4, 8: 5}
    assert to_put_back(found, versions.get) == [Replaced(7, 9)]
    assert to_put_back(found, {7: 3, 9: 0}.get) == [Replaced(7, 3), Replaced(9, 1)]
