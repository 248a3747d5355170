"""``tierfs fsck --data``: bytes are compared with their checksums, and wrong copies given up."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.fs.adopting import adopt, content_of
from tests.fs.damaging import flip, verify
from tests.fs.migrating import mirror
from tests.fs.scenarios import FILES, HEAD, contents, populate
from tests.guards.logs import ExpectLog
from tests.support.volumes import LooseVolume
from tierfs.fsck import kinds
from tierfs.fsck.check import check
from tierfs.fsck.kinds import Kind
from tierfs.fsck.repair import repair

WRONG = {
    "head": (b"small", "flash", 10, kinds.WRONG_HEAD),
    "head of a large file": (b"large", "flash", 10, kinds.WRONG_HEAD),
    "mirror": (b"small", "disk", 10, kinds.WRONG_MIRROR),
    "mirror of a large file": (b"large", "disk", 10, kinds.WRONG_MIRROR),
    "tail": (b"large", "disk", HEAD, kinds.WRONG_BYTES),
    "head without a mirror": (b"other", "flash", 10, kinds.WRONG_BYTES),
}


@pytest.fixture
def summed(small: LooseVolume) -> LooseVolume:
    """A volume whose files have checksums, ``small`` and ``large`` mirrors as well."""
    populate(small)
    small.fs.syncer.checkpoint()
    mirror(small, b"small", b"large")
    assert set(verify(small, *FILES)) == {"right"}
    return small


def spoil(volume: LooseVolume, name: bytes, tier: str, offset: int) -> int:
    """Change a byte of a closed volume; returns the inode number."""
    ino = volume.find(name).ino
    volume.close()
    flip(volume.flash_object(ino) if tier == "flash" else volume.disk_object(ino), offset)
    return ino


@pytest.mark.parametrize(("name", "tier", "offset", "kind"), WRONG.values(), ids=list(WRONG))
def test_a_changed_byte_is_found(
    summed: LooseVolume, name: bytes, tier: str, offset: int, kind: Kind
) -> None:
    ino = spoil(summed, name, tier, offset)
    assert not check(summed.settings).counts
    report = check(summed.settings, data=True)
    assert [(found.kind, found.ino, found.path) for found in report.findings] == [
        (kind, ino, b"/" + name)
    ]
    assert report.verified == len(FILES)
    assert not report.damage
    summed.open()  # it is not refused: a scrub heals what can be


@pytest.mark.parametrize("name", ["head", "mirror", "head of a large file"])
def test_a_repair_gives_up_the_wrong_copy(summed: LooseVolume, name: str) -> None:
    path, tier, offset, kind = WRONG[name]
    spoil(summed, path, tier, offset)
    outcome = repair(summed.settings, agree=lambda _: True, data=True)
    assert outcome.repaired == Counter([kind])
    assert outcome.report.clean
    summed.open()
    assert contents(summed)[path] == FILES[path]
    assert verify(summed, path) == ["right"]


def test_what_is_sound_is_called_so(summed: LooseVolume) -> None:
    summed.close()
    report = check(summed.settings, thorough=True, data=True)
    assert not report.counts


def test_a_dirty_file_is_not_compared(summed: LooseVolume, home: Path) -> None:
    summed.fs.data.write(summed.find(b"large").ino, 5, b"new bytes")
    killed = summed.copy(home / "killed")
    assert not check(killed.settings, data=True).counts


def test_an_old_index_that_is_accepted_has_no_checksums(summed: LooseVolume) -> None:
    """Or bytes that were written since would be called wrong, and given up."""
    summed.close()
    old = summed.settings.index.read_bytes()
    summed.open()
    summed.fs.data.write(summed.find(b"other").ino, 0, b"new bytes")
    summed.close()
    summed.settings.index.write_bytes(old)
    assert set(check(summed.settings, data=True).counts) == {kinds.GENERATION}
    outcome = repair(summed.settings, agree=lambda _: True, data=True)
    assert outcome.repaired == Counter([kinds.GENERATION])
    assert not check(summed.settings, data=True).counts
    summed.open()
    assert verify(summed, b"other") == ["right"]
    assert contents(summed)[b"other"].startswith(b"new bytes")


def test_what_a_scrub_gave_up_is_told(summed: LooseVolume, expect_log: ExpectLog) -> None:
    expect_log("no copy has them right")
    ino = spoil(summed, b"large", "disk", HEAD)
    summed.open()
    assert verify(summed, b"large") == ["lost"]
    summed.close()
    report = check(summed.settings)
    assert {found.kind for found in report.findings} == {kinds.MISSING_OBJECT, kinds.WRONG_BYTES}
    assert {found.ino for found in report.findings} == {ino}


ORIGINAL = bytes(range(256)) * 64


@pytest.fixture
def adopted(small: LooseVolume, home: Path) -> tuple[LooseVolume, int, Path]:
    """A volume with an adopted file whose head is on flash; its number, and its original."""
    original = home / "tree" / "file"
    original.parent.mkdir()
    original.write_bytes(ORIGINAL)
    assert adopt(small, original.parent).linked == 1
    ino = small.find(b"file").ino
    moved = small.fs.migrator.place(ino, HEAD, keep_mirror=True, paced=lambda _: None)
    assert moved.outcome == "moved"
    small.close()
    return small, ino, original


def change_quietly(path: Path, offset: int) -> None:
    """Change a byte, and leave the mtime."""
    status = path.stat()
    flip(path, offset)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_an_adopted_file_is_compared_as_well(adopted: tuple[LooseVolume, int, Path]) -> None:
    volume, ino, original = adopted
    original.chmod(0o400)  # changes its ctime alone
    report = check(volume.settings, data=True)
    assert (report.findings, report.verified) == ([], 1)
    change_quietly(original, 10)
    assert not check(volume.settings).counts
    report = check(volume.settings, data=True)
    assert [(found.kind, found.ino) for found in report.findings] == [(kinds.CHANGED_OUTSIDE, ino)]
    assert not report.damage


def test_a_wrong_head_of_an_adopted_file_is_given_up(
    adopted: tuple[LooseVolume, int, Path],
) -> None:
    volume, ino, original = adopted
    flip(volume.flash_object(ino), 10)
    assert set(check(volume.settings, data=True).counts) == {kinds.WRONG_HEAD}
    outcome = repair(volume.settings, agree=lambda _: True, data=True)
    assert (outcome.repaired, outcome.report.findings) == (Counter([kinds.WRONG_HEAD]), [])
    volume.open()
    assert content_of(volume, ino) == ORIGINAL == original.read_bytes()
    assert volume.disk_object(ino).samefile(original)
