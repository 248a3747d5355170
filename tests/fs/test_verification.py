"""Files whose bytes changed below: found, healed where a copy is right, EIO where none is."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fs import scenarios
from tests.fs.consistency import check
from tests.fs.damaging import any_byte, copies, flip, verify
from tests.fs.migrating import SPARSE, SPARSE_DATA, bring, make_sparse, mirror, small_chunks
from tests.fs.scenarios import FILES, HEAD, contents, make, pattern, prepared
from tests.fs.test_crashes import crashed
from tests.fs.test_migration_crashes import Suicidal
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume, volume_settings
from tierfs.common.errors import Damage, FsError, errno_of
from tierfs.common.extents import WHOLE_FILE
from tierfs.fs.migration_plan import MigrationStopped
from tierfs.storage.layout import LOST_AND_FOUND

FLIPS = int(os.environ.get("TIERFS_TEST_FLIPS", "40"))
"""Bits flipped at random places."""

FILES_FLIPPED = 25
"""Files that they are in, at a time."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A file of which one copy is wrong: its P and mirror, and which copy."""

    name: bytes
    prefix: int
    copy: str
    mirrored: bool = field(kw_only=True)

    def prepare(self, volume: LooseVolume) -> None:
        """Bring the file there, take its checksums, and change a byte."""
        if self.name == SPARSE:
            make_sparse(volume)
        bring(volume, self.name, self.prefix, self.mirrored)
        volume.fs.syncer.checkpoint()
        assert verify(volume, self.name) == ["right"]
        self.spoil(volume)
        volume.os.clear()

    def spoil(self, volume: LooseVolume) -> None:
        """Change a byte of the copy."""
        inode = volume.find(self.name)
        (path, offsets) = next(
            (path, offsets) for name, path, offsets, _ in copies(volume, inode) if name == self.copy
        )
        flip(path, offsets[len(offsets) * 2 // 3])

    @property
    def content(self) -> bytes:
        """What the file has."""
        return SPARSE_DATA if self.name == SPARSE else FILES[self.name]

    @property
    def has_copy(self) -> bool:
        """Whether another copy is right."""
        return self.mirrored and self.copy != "tail"


WRONG: Mapping[str, Wrong] = {
    "head of a small file": Wrong(b"small", HEAD, "head", mirrored=True),
    "mirror of a small file": Wrong(b"small", HEAD, "mirror", mirrored=True),
    "head of a large file": Wrong(b"large", HEAD, "head", mirrored=True),
    "mirror of a large file": Wrong(b"large", HEAD, "mirror", mirrored=True),
    "whole file on flash": Wrong(b"large", WHOLE_FILE, "head", mirrored=True),
    "mirror of a whole file": Wrong(b"large", WHOLE_FILE, "mirror", mirrored=True),
    "sparse file on flash": Wrong(SPARSE, WHOLE_FILE, "head", mirrored=True),
    "mirror of a sparse file": Wrong(SPARSE, WHOLE_FILE, "mirror", mirrored=True),
    "head without a mirror": Wrong(b"small", HEAD, "head", mirrored=False),
    "head of a large file without a mirror": Wrong(b"large", HEAD, "head", mirrored=False),
    "tail": Wrong(b"large", HEAD, "tail", mirrored=False),
    "tail of a mirrored file": Wrong(b"large", HEAD, "tail", mirrored=True),
    "cold file": Wrong(b"small", 0, "tail", mirrored=False),
    "cold sparse file": Wrong(SPARSE, 0, "tail", mirrored=False),
}
HEALED = {name: wrong for name, wrong in WRONG.items() if wrong.has_copy}
SOME = {
    name: WRONG[name]
    for name in (
        "head of a small file",
        "mirror of a large file",
        "sparse file on flash",
        "head without a mirror",
        "tail of a mirrored file",
        "cold file",
    )
}
"""For each way to heal, and each way to fail."""
LOST = {name: wrong for name, wrong in WRONG.items() if not wrong.has_copy}


@pytest.fixture(scope="module")
def template() -> Iterator[LooseVolume]:
    with scenarios.template() as made, small_chunks():
        yield made


@pytest.fixture
def ready(template: LooseVolume, home: Path) -> Iterator[LooseVolume]:
    with prepared(template, home / "ready") as volume:
        volume.fs.syncer.checkpoint()
        yield volume


def wrong_copies(volume: LooseVolume, copy: str, outcome: str) -> float:
    labels = {"copy": copy, "outcome": outcome}
    return volume.metrics.registry.get_sample_value("tierfs_wrong_copies_total", labels) or 0


def assert_right(volume: LooseVolume, wrong: Wrong) -> None:
    """Every copy of the file is right, and nothing is to be healed any more."""
    assert contents(volume)[wrong.name] == wrong.content
    check(volume)
    assert verify(volume, wrong.name) == ["right"]


@pytest.mark.parametrize("wrong", HEALED.values(), ids=list(HEALED))
def test_a_wrong_copy_is_healed_from_the_right_one(
    ready: LooseVolume, wrong: Wrong, expect_log: ExpectLog
) -> None:
    expect_log("was healed")
    wrong.prepare(ready)
    row = ready.find(wrong.name)
    dropped: list[int] = []
    ready.fs.verifier.drop_pages = dropped.append
    assert verify(ready, wrong.name) == ["healed"]
    assert ready.find(wrong.name) == row
    assert dropped == [row.ino]
    assert wrong_copies(ready, wrong.copy, "healed") == 1
    assert_right(ready, wrong)
    ready.reopen()
    assert_right(ready, wrong)


def object_of(volume: LooseVolume, wrong: Wrong) -> Path:
    """The object with the copy."""
    ino = volume.find(wrong.name).ino
    return volume.flash_object(ino) if wrong.copy == "head" else volume.disk_object(ino)


ALONE = {name: HEALED[name] for name in HEALED if name != "mirror of a large file"}
"""Where the object has nothing but that copy."""


@pytest.mark.parametrize("cut", [None, 0, 100], ids=["missing", "empty", "short"])
@pytest.mark.parametrize("wrong", ALONE.values(), ids=list(ALONE))
def test_a_copy_that_is_missing_or_short_is_healed(
    ready: LooseVolume, wrong: Wrong, cut: int | None, expect_log: ExpectLog
) -> None:
    expect_log("was healed")
    wrong.prepare(ready)
    path = object_of(ready, wrong)
    path.unlink() if cut is None else os.truncate(path, cut)
    assert verify(ready, wrong.name) == ["healed"]
    assert_right(ready, wrong)


@pytest.mark.parametrize("wrong", HEALED.values(), ids=list(HEALED))
def test_a_copy_that_cannot_be_read_is_healed(
    template: LooseVolume, home: Path, wrong: Wrong, expect_log: ExpectLog
) -> None:
    expect_log("was healed|Input/output error")
    tier = "flash" if wrong.copy == "head" else "disk"
    with prepared(template, home / "recorded") as volume:
        wrong.prepare(volume)
        verify(volume, wrong.name)
        reads = volume.os.labels.count(f"{tier}.pread")
    for nth in range(reads):
        with prepared(template, home / "unreadable") as volume:
            wrong.prepare(volume)
            volume.os.fail(Point(f"{tier}.pread", nth), errno.EIO)
            first = verify(volume, wrong.name)
            assert first in (["healed"], ["unreadable"], ["failed"]), nth
            if first != ["healed"]:  # perhaps the tail of the object, once the mirror was
                assert verify(volume, wrong.name)[0] in {"healed", "right"}, nth
            assert_right(volume, wrong)


def eio(volume: LooseVolume, name: bytes, offset: int) -> bool:
    """Whether reading a byte gives EIO."""
    try:
        volume.fs.reads.read(volume.find(name).ino, offset, 1)
    except (FsError, OSError) as exc:
        return errno_of(exc) == errno.EIO
    return False


@pytest.mark.parametrize("wrong", LOST.values(), ids=list(LOST))
def test_bytes_without_a_right_copy_give_eio(
    ready: LooseVolume, wrong: Wrong, expect_log: ExpectLog
) -> None:
    expect_log("no copy has them right")
    expect_log("missing")
    wrong.prepare(ready)
    ino, path = ready.find(wrong.name).ino, object_of(ready, wrong)
    bytes_left = path.read_bytes()
    assert verify(ready, wrong.name) == ["lost"]
    for _ in range(2):
        assert [row.ino for row in ready.index.checksums.lost(10)] == [ino]
        assert ready.index.checksums.lost_count() == 1
        last = len(wrong.content) - 1
        assert eio(ready, wrong.name, 0 if wrong.copy == "head" else last)
        others = wrong.prefix == HEAD and wrong.name == b"large"
        assert eio(ready, wrong.name, last if wrong.copy == "head" else 0) != others
        assert verify(ready, wrong.name) == ["lost"]
        ready.reopen()
    assert wrong_copies(ready, wrong.copy, "lost") == 1
    tier = ready.settings.flash if wrong.copy == "head" else ready.settings.disk
    kept = tier / LOST_AND_FOUND / f"{ino}"
    assert kept.read_bytes() == bytes_left

    # What an operator can do: put back the object, once it is right.
    path.write_bytes(bytes_left)
    flip_back(path, wrong)
    assert verify(ready, wrong.name) == ["right"]
    assert ready.index.checksums.lost_count() == 0
    assert contents(ready)[wrong.name] == wrong.content


def flip_back(path: Path, wrong: Wrong) -> None:
    data, start = path.read_bytes(), 0 if wrong.copy == "head" or wrong.mirrored else wrong.prefix
    (offset,) = (at for at in range(start, len(data)) if data[at] != wrong.content[at])
    flip(path, offset)


@pytest.mark.parametrize("wrong", LOST.values(), ids=list(LOST))
def test_a_truncation_to_0_ends_the_error(
    ready: LooseVolume, wrong: Wrong, expect_log: ExpectLog
) -> None:
    expect_log("no copy has them right")
    wrong.prepare(ready)
    ino = ready.find(wrong.name).ino
    assert verify(ready, wrong.name) == ["lost"]
    ready.fs.data.truncate(ino, 0)
    ready.fs.data.write(ino, 0, b"new bytes")
    assert ready.index.checksums.lost_count() == 0
    assert contents(ready)[wrong.name] == b"new bytes"
    ready.reopen()
    assert verify(ready, wrong.name) == ["right"]
    check(ready, trimmed=True)


def test_both_copies_wrong(ready: LooseVolume, expect_log: ExpectLog) -> None:
    expect_log("no copy has them right")
    expect_log("missing")
    both = (
        Wrong(b"small", HEAD, "head", mirrored=True),
        Wrong(b"small", HEAD, "mirror", mirrored=True),
    )
    both[0].prepare(ready)
    flip(ready.disk_object(ready.find(b"small").ino), 5)
    assert verify(ready, b"small") == ["lost"]
    assert eio(ready, b"small", 0)
    ino = ready.find(b"small").ino
    for tier in (ready.settings.flash, ready.settings.disk):
        assert (tier / LOST_AND_FOUND / f"{ino}").exists()
    ready.reopen()
    assert verify(ready, b"small") == ["lost"]


def test_head_and_tail_wrong(ready: LooseVolume, expect_log: ExpectLog) -> None:
    """What can be healed is, and the rest is lost."""
    expect_log("was healed")
    expect_log("no copy has them right")
    expect_log("missing")
    Wrong(b"large", HEAD, "head", mirrored=True).prepare(ready)
    Wrong(b"large", HEAD, "tail", mirrored=True).spoil(ready)
    assert verify(ready, b"large") == ["lost"]
    ino = ready.find(b"large").ino
    assert ready.fs.reads.read(ino, 0, HEAD) == FILES[b"large"][:HEAD]
    assert eio(ready, b"large", HEAD)


def test_copies_that_differ_without_a_checksum(ready: LooseVolume, expect_log: ExpectLog) -> None:
    expect_log("no checksum tells which")
    assert mirror(ready, b"small")[0].outcome == "moved"
    ino = ready.find(b"small").ino
    with ready.index.transaction():
        ready.index.checksums.delete(ino)
    flip(ready.disk_object(ino), 5)
    assert verify(ready, b"small") == ["differs"]
    assert contents(ready)[b"small"] == FILES[b"small"]


# ---------------------------------------------------------------- crashes and faults


@pytest.mark.parametrize("wrong", SOME.values(), ids=list(SOME))
def test_a_crash_before_any_call(
    template: LooseVolume, home: Path, wrong: Wrong, expect_log: ExpectLog
) -> None:
    expect_log("(?s).*", required=False)
    with prepared(template, home / "recorded") as volume:
        wrong.prepare(volume)
        verify(volume, wrong.name)
        recorded = volume.os.points()
    for point in recorded:
        with prepared(template, home / "killed") as volume:
            wrong.prepare(volume)
            do = lambda victim: verify(victim, wrong.name)  # noqa: E731
            with crashed(volume, home / "crashed", point, "before", do) as survivor:
                judge(survivor, wrong, str(point))


def judge(survivor: LooseVolume, wrong: Wrong, where: str) -> None:
    """The next look finds the same, and nothing that was right is wrong now."""
    others = {name: data for name, data in scenarios.before().items() if name != wrong.name}
    if wrong.has_copy:
        assert verify(survivor, wrong.name)[0] in {"healed", "right"}, where
        assert_right(survivor, wrong)
    else:
        assert verify(survivor, wrong.name) == ["lost"], where
        assert survivor.index.checksums.lost_count() == 1
        assert eio(survivor, wrong.name, 0 if wrong.copy == "head" else len(wrong.content) - 1)
    for name, data in others.items():
        assert survivor.fs.reads.read(survivor.find(name).ino, 0, len(data)) == data, where


@pytest.mark.parametrize("label", ["heal.copied", "heal.synced", "heal.noted", "heal.aside"])
@pytest.mark.parametrize("wrong", SOME.values(), ids=list(SOME))
def test_a_process_killed_at_a_step(
    template: LooseVolume, home: Path, wrong: Wrong, label: str, expect_log: ExpectLog
) -> None:
    expect_log("(?s).*", required=False)
    with prepared(template, home / "prepared") as volume:
        wrong.prepare(volume)
        volume.close()
        survivor = volume.copy(home / "victim")
    comes_by = (label in {"heal.copied", "heal.synced"}) == wrong.has_copy
    status = die(survivor.home, wrong, label)
    assert os.WIFSIGNALED(status) == comes_by
    survivor.open()
    judge(survivor, wrong, label)
    survivor.close()


def die(home: Path, wrong: Wrong, label: str) -> int:
    """Let a child verify the file and kill itself at a step; returns what waitpid(2) says."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        volume = LooseVolume(volume_settings(home, HEAD))
        suicidal = volume.os = Suicidal(label)
        volume.open()
        suicidal.armed = True
        verify(volume, wrong.name)
    finally:
        os._exit(1)


@pytest.mark.parametrize("wrong", SOME.values(), ids=list(SOME))
def test_every_call_fails_once(
    template: LooseVolume, home: Path, wrong: Wrong, expect_log: ExpectLog
) -> None:
    expect_log("(?s).*", required=False)
    with prepared(template, home / "recorded") as volume:
        wrong.prepare(volume)
        verify(volume, wrong.name)
        recorded = [point for point in volume.os.points() if not point.label.startswith("heal.")]
    for point in recorded:
        with prepared(template, home / "failed") as volume:
            wrong.prepare(volume)
            volume.os.fail(point, errno.EIO)
            with contextlib.suppress(FsError, OSError):
                verify(volume, wrong.name)
            volume.os.clear()
            volume.reopen()  # no sync of the index succeeds after one that failed
            judge(volume, wrong, str(point))


# ---------------------------------------------------------------- others want the file, too


@pytest.mark.parametrize("wrong", SOME.values(), ids=list(SOME))
def test_a_write_goes_first(
    template: LooseVolume, home: Path, wrong: Wrong, expect_log: ExpectLog
) -> None:
    """Before any call: what the writer wrote is read, and what it did not touch is not worse."""
    expect_log("(?s).*", required=False)
    with prepared(template, home / "recorded") as volume:
        wrong.prepare(volume)
        verify(volume, wrong.name)
        recorded = volume.os.points()
    for point in recorded:
        with prepared(template, home / "written") as volume:
            wrong.prepare(volume)
            ino = volume.find(wrong.name).ino
            volume.os.before(point, functools.partial(write, volume, ino))
            verify(volume, wrong.name)
            if volume.fs.dirty.get(ino) is not None:
                judge_written(volume, wrong, str(point))


def write(volume: LooseVolume, ino: int) -> None:
    """Write, unless a chunk is just healed under the file's lock: a writer waits for that."""
    locks = volume.fs.dirty.locks
    if locks.try_acquire(ino):
        locks.release(ino)
        with contextlib.suppress(Damage):
            volume.fs.data.write(ino, 3, b"written")


def judge_written(volume: LooseVolume, wrong: Wrong, where: str) -> None:
    expected = bytearray(wrong.content)
    expected[3:10] = b"written"
    ino = volume.find(wrong.name).ino
    try:
        found = volume.fs.reads.read(ino, 0, len(expected))
    except Damage:
        assert not wrong.has_copy, where
        return
    differing = [at for at in range(len(expected)) if found[at] != expected[at]]
    assert len(differing) <= 1 or bytes(found[3:10]) == wrong.content[3:10], where
    if wrong.has_copy and wrong.copy == "mirror":
        assert not differing, where


def test_a_stop_leaves_the_file(ready: LooseVolume) -> None:
    wrong = WRONG["head of a large file"]
    wrong.prepare(ready)

    def stop(_: int) -> None:
        raise MigrationStopped

    ino = ready.find(b"large").ino
    with pytest.raises(MigrationStopped):
        ready.fs.verifier.verify([ino], paced=stop)
    assert not ready.fs.verifier._migrations.holds(ino)


# ---------------------------------------------------------------- many


@pytest.mark.timeout(900)
def test_bits_flipped_at_random_places(small: LooseVolume, expect_log: ExpectLog) -> None:
    """Every one is found, all that have a copy are healed, and then no byte is wrong."""
    expect_log("(?s).*", required=False)
    chance = random.Random(FLIPS)
    found = healed = 0
    for start in range(0, FLIPS, FILES_FLIPPED):
        names = [b"%d" % number for number in range(start, min(FLIPS, start + FILES_FLIPPED))]
        content = {name: pattern(chance.choice([900, HEAD, 3 * HEAD, 40_000]), 7) for name in names}
        for name, data in content.items():
            small.fs.data.write(make(small, name).ino, 0, data)
        small.fs.syncer.checkpoint()
        for name in names:
            prefix = chance.choice([0, HEAD, HEAD, WHOLE_FILE])
            bring_there(small, name, prefix, mirrored=chance.random() < 0.7)
        assert set(verify(small, *names)) == {"right"}
        places = {name: any_byte(small, small.find(name), chance) for name in names}
        for place in places.values():
            flip(place.path, place.offset)
        for name, outcome in zip(names, verify(small, *names), strict=True):
            place = places[name]
            assert outcome == ("healed" if place.has_copy else "lost"), place
            found += 1
            healed += place.has_copy
            if place.has_copy:
                ino = small.find(name).ino
                assert small.fs.reads.read(ino, 0, 50_000) == content[name]
            else:
                assert eio(small, name, place.offset)
        assert set(verify(small, *names)) <= {"right", "lost"}
    assert found == FLIPS
    assert 0 < healed < found
    assert small.index.checksums.lost_count() == found - healed


def bring_there(volume: LooseVolume, name: bytes, prefix: int, *, mirrored: bool) -> None:
    if prefix != HEAD:
        volume.fs.migrator.place(
            volume.find(name).ino, prefix, keep_mirror=False, paced=lambda _: None
        )
    if mirrored and prefix:
        mirror(volume, name)
