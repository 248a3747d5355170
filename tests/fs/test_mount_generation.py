"""An index or a directory that is older than the rest is refused, and nothing else is."""

from __future__ import annotations

import functools
import json
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.fs.calls import file_of, make
from tests.fs.consistency import check
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Killed, Moment, Point
from tests.support.volumes import LooseVolume, MakeVolume, volume_settings
from tierfs.common.errors import VolumeRefused
from tierfs.fs.identity import read_markers
from tierfs.fsck import kinds
from tierfs.fsck.check import check as fsck
from tierfs.fsck.repair import repair
from tierfs.metadata.index import FIRST_BLOCK
from tierfs.metadata.inodes import ROOT
from tierfs.storage.markers import FORMAT, MARKER, MARKER_BYTES, Tier

STEPS = ("index.commit", "index.sync", "flash.mark", "disk.mark")
"""What making a generation is made of."""

BEFORE = 4
"""Version of the last index without generations."""

UNDO = (
    "DROP TABLE generation",
    "DROP TABLE redo",
    "ALTER TABLE inode DROP COLUMN synced",
    "ALTER TABLE inode DROP COLUMN btime",
    "ALTER TABLE dirty DROP COLUMN exact",
    "ALTER TABLE volume DROP COLUMN dirty_from",
    "DROP TABLE answered",
    "DROP TABLE feed",
    "DROP TABLE feed_reader",
    "DROP TABLE feed_state",
    "DROP TABLE checksum",
    "DROP TABLE scrub",
    "ALTER TABLE inode DROP COLUMN adopted",
    "DROP TABLE adopted",
    "DROP TABLE adopting",
    "DROP TRIGGER fact_state_gone",
    "DROP TRIGGER fact_gone",
    "DROP TABLE fact",
    "DROP TABLE fact_state",
    "DROP TABLE fact_pass",
)
"""What the migrations since have made."""


def save(volume: LooseVolume, place: Path) -> Path:
    """A copy of the index as a backup program makes it."""
    place.mkdir()
    for path in volume.settings.flash.glob("index.db*"):
        shutil.copy(path, place)
    return place


def restore(volume: LooseVolume, place: Path) -> None:
    for path in volume.settings.flash.glob("index.db*"):
        path.unlink()
    for path in place.iterdir():
        shutil.copy(path, volume.settings.flash)


def content(volume: LooseVolume, name: bytes) -> bytes:
    inode = volume.find(name)
    return volume.fs.reads.read(inode.ino, 0, inode.size)


def refused(volume: LooseVolume) -> str:
    with pytest.raises(VolumeRefused) as failure:
        volume.open()
    return str(failure.value)


def test_an_index_from_before_the_last_mount_is_refused(small: LooseVolume, home: Path) -> None:
    small.close()
    saved = save(small, home / "saved")
    small.open()
    file_of(small, b"newer")
    small.close()
    restore(small, saved)
    told = refused(small)
    assert "fsck --repair" in told
    assert f"{small.settings.flash} of " in told
    assert f"{small.settings.disk} of " in told


def test_an_index_copied_while_it_was_mounted_is_refused(small: LooseVolume, home: Path) -> None:
    saved = save(small, home / "saved")
    file_of(small, b"newer")
    small.close()
    restore(small, saved)
    refused(small)


@pytest.mark.parametrize("checkpoints", [1, 2])
def test_one_copied_before_a_checkpoint_is_refused_after_a_kill(
    small: LooseVolume, home: Path, checkpoints: int
) -> None:
    saved = save(small, home / "saved")
    file_of(small, b"newer")
    for _ in range(checkpoints):
        small.volume.checkpoints.make()
    small.abandon()
    restore(small, saved)
    refused(small)


def test_a_copy_of_all_is_taken_after_a_kill(small: LooseVolume, home: Path) -> None:
    file_of(small, b"data")
    small.volume.checkpoints.make()
    copied = small.copy(home / "copied")
    copied.open()
    assert content(copied, b"file") == b"data"
    copied.close()


@pytest.mark.parametrize("label", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("by", ["a mount", "a checkpoint"])
def test_a_crash_while_a_generation_is_made_leaves_a_volume_that_opens(
    small: LooseVolume, home: Path, by: str, label: str, moment: Moment, number: int
) -> None:
    file_of(small, b"data")
    if by == "a mount":
        small.close()
    crashed = home / "crashed"
    small.os.clear()
    small.os.kill(
        Point(label, number), moment, functools.partial(shutil.copytree, small.home, crashed)
    )
    with suppress(Killed):
        if by == "a mount":
            small.reopen()
        else:
            small.volume.checkpoints.make()
    small.os.dead = True
    small.abandon()
    if not crashed.exists():
        return  # so many steps there are not
    survivor = LooseVolume(volume_settings(crashed, small.head))
    survivor.open()
    assert content(survivor, b"file") == b"data"
    survivor.volume.checkpoints.make()
    check(survivor)
    survivor.reopen()
    survivor.close()


@pytest.mark.parametrize("tier", ["flash", "disk"])
def test_a_directory_that_is_an_older_copy_is_refused(
    small: LooseVolume, home: Path, tier: Tier
) -> None:
    directory = {"flash": small.settings.flash, "disk": small.settings.disk}[tier]
    small.close()
    shutil.copytree(directory, home / "saved", ignore=shutil.ignore_patterns("index.db*"))
    small.reopen()
    small.close()
    for path in (home / "saved").iterdir():
        if path.is_file():
            shutil.copy(path, directory)
    told = refused(small)
    assert f"{directory} of " in told
    assert "the index or that directory is an older copy" in told


def test_a_whole_volume_that_is_copied_back_is_taken(small: LooseVolume, home: Path) -> None:
    file_of(small, b"data")
    small.close()
    older = small.copy(home / "older")
    older.open()
    assert content(older, b"file") == b"data"
    older.close()


def test_the_crash_points_are_those_of_the_steps(small: LooseVolume) -> None:
    small.close()
    small.os.clear()
    small.open()
    assert [label for label in small.os.labels if label in STEPS[1:]][:4] == [
        "index.sync",  # of the serials
        "index.sync",  # of what is next
        "flash.mark",
        "disk.mark",
    ]


def test_a_volume_of_before_is_taken_once(small: LooseVolume, home: Path) -> None:
    """Its markers are short and have no generation, nor has its index."""
    file_of(small, b"data")
    small.close()
    with closing(sqlite3.connect(small.settings.index, isolation_level=None)) as index:
        for statement in UNDO:
            index.execute(statement)
        index.execute(f"PRAGMA user_version = {BEFORE}")
    for tier, directory in (("flash", small.settings.flash), ("disk", small.settings.disk)):
        marker = {"format": FORMAT, "volume": str(read_markers(small.settings).flash.volume)}
        (directory / MARKER).write_text(json.dumps({**marker, "tier": tier}) + "\n")
    saved = save(small, home / "saved")
    small.open()
    assert content(small, b"file") == b"data"
    small.close()
    assert {marker.generation for marker in read_markers(small.settings)} != {""}
    restore(small, saved)
    refused(small)


def test_an_old_tierfs_can_still_read_a_marker(small: LooseVolume) -> None:
    text = (small.settings.disk / MARKER).read_text()
    assert len(text) == MARKER_BYTES
    assert json.loads(text)["format"] == FORMAT


def test_a_marker_whose_blanks_never_reached_the_disk_is_read(small: LooseVolume) -> None:
    marker = small.settings.disk / MARKER
    text = marker.read_bytes().rstrip()
    marker.write_bytes(text.ljust(MARKER_BYTES, b"\0"))
    assert read_markers(small.settings).disk.tier == "disk"


def test_a_repair_accepts_an_old_index_and_loses_no_byte(small: LooseVolume, home: Path) -> None:
    old = file_of(small, b"old", name=b"old")
    small.close()
    saved = save(small, home / "saved")
    small.open()
    newer = file_of(small, bytes(9000), name=b"newer")
    small.close()
    restore(small, saved)
    found = fsck(small.settings)
    assert kinds.GENERATION in found.counts
    outcome = repair(small.settings, agree=lambda _counts: True)
    assert not outcome.report.damage
    small.open()
    assert content(small, b"old") == b"old"
    assert small.find(b"old").ino == old
    assert file_of(small, b"next", name=b"next") > newer
    for directory in (small.settings.flash, small.settings.disk):
        assert (directory / "lost+found" / f"{newer}").exists()


def test_a_repair_that_dies_before_the_markers_is_begun_again(
    small: LooseVolume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.close()
    saved = save(small, home / "saved")
    small.reopen()
    small.close()
    restore(small, saved)

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("tierfs.fsck.repair.rewrite_marker", die)
        with pytest.raises(Killed):
            repair(small.settings, agree=lambda _counts: True)
    refused(small)
    repair(small.settings, agree=lambda _counts: True)
    small.open()


def test_an_object_of_no_file_is_set_aside_and_the_write_succeeds(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log(r"inode \d+: its new (flash|disk) object was there already")
    before = make(small, b"first").ino
    data = bytes(range(250)) * 30
    for place in (small.flash_object(before + 1), small.disk_object(before + 1)):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"somebody's bytes" * 1000)
    ino = make(small, b"second").ino
    assert ino == before + 1
    small.fs.data.write(ino, 0, data)
    assert content(small, b"second") == data
    for directory in (small.settings.flash, small.settings.disk):
        assert (directory / "lost+found" / f"{ino}").read_bytes() == b"somebody's bytes" * 1000
    check(small)


def test_an_object_of_no_file_is_not_the_content_of_a_new_one_after_a_kill(
    small: LooseVolume, home: Path, expect_log: ExpectLog
) -> None:
    """What a crash has left of a new file is found by its object: there may be no other."""
    expect_log(r"inode \d+: its new flash object was there already")
    ahead = make(small, b"first").ino + FIRST_BLOCK + 10
    small.close()
    place = small.flash_object(ahead)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"somebody's bytes")
    small.open()
    while make(small, b"next").ino < ahead:
        small.fs.names.unlink(ROOT, b"next")
    survivor = small.copy(home / "killed")
    survivor.open()
    assert content(survivor, b"next") == b""
    survivor.close()


def test_the_first_bytes_cost_no_further_call(small: LooseVolume) -> None:
    file_of(small, b"x", name=b"makes the directories")
    ino = make(small, b"small").ino
    small.os.clear()
    small.fs.data.write(ino, 0, b"data")
    assert small.os.labels == ["flash.open", "flash.pwrite"]


def test_a_volume_that_is_damaged_is_opened_only_when_told(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("mounted anyway")
    ino = file_of(small, b"data")
    small.close()
    with closing(sqlite3.connect(small.settings.index, isolation_level=None)) as index:
        index.execute("UPDATE inode SET nlink = 3 WHERE ino = ?", (ino,))
    assert not fsck(small.settings).clean
    told = refused(small)
    assert "links 1" in told
    assert "'force'" in told
    small.force = True
    small.reopen()
    assert content(small, b"file") == b"data"
    small.close()
    small.force = False
    refused(small)  # still: mounting has repaired nothing
    repair(small.settings, agree=lambda _counts: True)
    small.open()


def test_what_is_lost_does_not_keep_a_volume_from_being_opened(small: LooseVolume) -> None:
    """The file must be deleted, or restored: for that the volume must be mounted."""
    small.flash_object(file_of(small, b"data")).unlink()
    small.close()
    report = fsck(small.settings)
    assert report.counts[kinds.MISSING_OBJECT] == 1
    small.open()


def test_only_a_thorough_check_takes_back_what_one_has_found(
    make_volume: MakeVolume,
) -> None:
    volume = make_volume()
    ino = file_of(volume, b"data")
    (moved,) = volume.fs.migrator.mirror([ino], paced=lambda _length: None)
    assert moved.outcome == "moved"
    volume.close()
    mirror = volume.disk_object(ino)
    mirror.write_bytes(b"DATA")
    assert fsck(volume.settings, thorough=True).damage == "mirror-differs 1"
    assert fsck(volume.settings).clean
    refused(volume)
    mirror.write_bytes(b"data")
    assert fsck(volume.settings, thorough=True).clean
    volume.open()


def test_a_read_only_volume_writes_nothing(small: LooseVolume) -> None:
    gone = file_of(small, b"gone", name=b"gone")
    small.fs.names.unlink(ROOT, b"gone")
    file_of(small, b"data")
    small.abandon()
    before = _everything(small)
    small.read_only = True
    small.open()
    assert content(small, b"file") == b"data"
    assert small.index.dentries.find(ROOT, b"gone") is None
    while small.index.recount():
        pass
    assert small.volume.usage().counts.files >= 1
    small.close()
    assert _everything(small) == before
    assert small.flash_object(gone).exists()
    small.read_only = False
    small.open()


def test_a_read_only_volume_of_an_old_index_is_refused(small: LooseVolume, home: Path) -> None:
    small.close()
    saved = save(small, home / "saved")
    small.reopen()
    small.close()
    restore(small, saved)
    small.read_only = True
    refused(small)


def _everything(volume: LooseVolume) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in volume.home.rglob("*") if path.is_file()}
