from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fs.scenarios import make, pattern
from tests.fsck.image import Image, at_once
from tests.fsck.plants import (
    PLANTS,
    Plant,
    change_mirror,
    cut_flash_object,
    odd,
    put_foreign_file,
    put_object_of_nobody,
    raise_links,
    remove_disk_object,
    stray,
)
from tests.support.fixtures import directory
from tests.support.fsck import assert_clean
from tests.support.volumes import LooseVolume, MakeVolume
from tierfs.common.beneath import open_file
from tierfs.common.errors import IndexFailed, VolumeBusy, VolumeRefused
from tierfs.common.extents import WHOLE_FILE
from tierfs.fsck import check as check_module
from tierfs.fsck import kinds
from tierfs.fsck.check import Finding, check
from tierfs.metadata import index as index_module
from tierfs.metadata import integrity
from tierfs.metadata.inodes import ROOT
from tierfs.storage.markers import MARKER

APART = (
    change_mirror,
    cut_flash_object,
    odd(b"empty", "rdev", 7),
    put_foreign_file,
    put_object_of_nobody,
    raise_links,
    remove_disk_object,
    stray("pin"),
)
"""Damage of different files."""


def contents(home: Path) -> dict[str, str]:
    """A hash of every file, but for the markers, in which damage is noted."""
    files = [path for path in home.rglob("*") if path.is_file() and path.name != MARKER]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@settings(max_examples=25, deadline=None)
@given(plants=st.lists(st.sampled_from(APART), unique=True))
def test_damage_of_several_kinds_is_found_together(original: Image, plants: list[Plant]) -> None:
    with directory(original.settings.path.parent / "none") as home:
        image = original.copy(home / "image")
        wanted = set().union(*(plant(image) for plant in APART if plant in plants))
        found = check(image.settings, thorough=True).findings
        assert {(finding.kind, finding.ino) for finding in found} == wanted


def test_nothing_is_changed(image: Image) -> None:
    home = image.settings.path.parent
    before = contents(home)
    check(image.settings, thorough=True)
    assert contents(home) == before


def test_the_index_is_opened_to_read(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a filesystem that an error made read-only can be checked."""
    opened: dict[str, int] = {}

    def recording(path: str, flags: int, *, dir_fd: int) -> int:
        opened[path] = flags
        return open_file(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(index_module, "open_file", recording)
    check(image.settings)
    assert opened[image.settings.index.name] & os.O_ACCMODE == os.O_RDONLY


def test_a_closed_volume_gets_no_file_beside_its_index(small: LooseVolume) -> None:
    small.close()
    names = set(os.listdir(small.settings.flash))
    assert_clean(small.settings)
    assert set(os.listdir(small.settings.flash)) == names


def test_a_new_volume_is_clean(small: LooseVolume) -> None:
    small.close()
    report = check(small.settings)
    assert (report.inodes, report.files, report.objects, report.clean) == (1, 0, 0, True)


def test_what_a_crash_left_is_clean_before_and_after_it_is_freed(image: Image) -> None:
    assert_clean(image.settings)
    volume = LooseVolume(image.settings)
    volume.open()
    volume.close()
    report = check(image.settings, thorough=True)
    assert (report.findings, report.awaiting_removal, report.awaiting_trim) == ([], 0, 0)


def test_a_volume_that_is_open_is_refused(small: LooseVolume) -> None:
    with pytest.raises(VolumeBusy, match="in use by another tierfs: unmount"):
        check(small.settings)


def test_the_volume_can_be_opened_after_the_check(small: LooseVolume) -> None:
    small.close()
    check(small.settings)
    small.open()


def test_the_index_of_another_volume_is_refused(make_volume: MakeVolume) -> None:
    one, other = make_volume(), make_volume()
    one.close()
    other.close()
    shutil.copyfile(other.settings.index, one.settings.index)
    with pytest.raises(VolumeRefused, match="belongs to volume"):
        check(one.settings)


def test_the_tier_of_another_volume_is_refused(make_volume: MakeVolume) -> None:
    one, other = make_volume(), make_volume()
    one.close()
    other.close()
    with pytest.raises(VolumeRefused, match="belongs to volume"):
        check(dataclasses.replace(one.settings, disk=other.settings.disk))


@pytest.mark.parametrize("version", [0, 99])
def test_another_schema_is_refused(image: Image, version: int) -> None:
    image.sql(f"PRAGMA user_version = {version}")
    with pytest.raises(VolumeRefused, match=f"schema is {version}, this tierfs knows"):
        check(image.settings)


def test_comments_of_another_version_are_no_other_schema(image: Image) -> None:
    with closing(sqlite3.connect(image.settings.index)) as connection:
        connection.executescript(
            "PRAGMA writable_schema = ON;"
            "UPDATE sqlite_schema SET sql = replace(sql, '-- ', '-- once: ');"
        )
    assert check(image.settings).clean


def test_damage_of_sqlite_ends_the_check(image: Image) -> None:
    image.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    size = image.settings.index.stat().st_size
    with image.settings.index.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(size - 4096))
    report = check(image.settings)
    assert {finding.kind for finding in report.findings} == {kinds.INDEX}
    assert (report.complete, report.clean) == (False, False)


def test_no_room_for_temporary_files_is_no_damage(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "PRAGMAS", ("PRAGMA temp.max_page_count = 2",))
    with pytest.raises(IndexFailed, match="full") as failure:
        check(image.settings)
    assert failure.value.errno == errno.ENOSPC


def test_a_directory_of_objects_that_is_none_is_told(image: Image) -> None:
    (image.settings.disk / "objects").rename(image.settings.disk.parent / "aside")
    (image.settings.disk / "objects").write_bytes(b"")
    found = check(image.settings).findings
    assert found[0].kind == kinds.UNREADABLE
    assert found[0].path == os.fsencode(image.settings.disk / "objects")
    assert {finding.kind for finding in found[1:]} == {kinds.MISSING_OBJECT, kinds.STALE_MIRROR}


def test_a_lost_tier_loses_the_files_that_need_it(image: Image) -> None:
    shutil.rmtree(image.settings.disk / "objects")
    found = {(finding.kind, finding.path) for finding in check(image.settings).findings}
    lost = {b"/large", b"/other", b"/upper/middle/lower/deep"}
    assert found == {(kinds.MISSING_OBJECT, path) for path in lost} | {
        (kinds.STALE_MIRROR, b"/mirrored")
    }


def test_a_report_keeps_some_and_counts_all(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "KEPT", 2)
    shutil.rmtree(image.settings.flash / "heads")
    told: list[Finding] = []
    report = check(image.settings, listener=told.append)
    assert report.findings == told[:2]
    assert len(told) == sum(report.counts.values()) == 7


def test_paths_lead_to_what_was_found(image: Image) -> None:
    ino = image.ino(b"deep")
    image.disk(ino).unlink()
    (finding,) = check(image.settings).findings
    assert finding.path == b"/upper/middle/lower/deep"
    assert finding.what == "its disk object of 9000 bytes is missing"


def test_a_path_through_what_is_lost_says_so(image: Image) -> None:
    PLANTS["lose_row_of_directory"](image)
    image.disk(image.ino(b"deep")).unlink()
    assert {
        finding.path
        for finding in check(image.settings).findings
        if finding.kind == kinds.MISSING_OBJECT
    } == {b"/upper/middle/lower/deep"}


@pytest.mark.parametrize("seed", range(3))
def test_heavy_use_leaves_a_clean_volume(small: LooseVolume, home: Path, seed: int) -> None:
    """Also when it is killed in the middle; flash runs full now and then."""
    dice = random.Random(seed)
    inos = [make(small, b"%d" % number).ino for number in range(20)]
    for step in range(300):
        use(small, dice, inos, step)
        small.os.full = ("flash.pwrite",) if dice.random() < 0.1 else ()
    small.os.full = ()
    for number in range(0, 20, 3):
        small.fs.names.unlink(ROOT, b"%d" % number)
    assert_clean(small.copy(home / "killed").settings)
    small.close()
    report = check(small.settings, thorough=True)
    assert (report.findings, report.files) == ([], 13)


def use(volume: LooseVolume, dice: random.Random, inos: list[int], step: int) -> None:
    """Cut, write, mirror or move a file."""
    ino, drawn = dice.choice(inos), dice.random()
    if drawn < 0.2:
        volume.fs.data.truncate(ino, dice.randrange(20_000))
    elif drawn < 0.5:
        data = pattern(dice.randrange(1, 5000), step)
        volume.fs.data.write(ino, dice.randrange(16_000), data)
    elif drawn < 0.7:
        volume.fs.migrator.mirror(sorted(dice.sample(inos, 4)), paced=at_once)
    else:
        prefix = dice.choice([0, 4096, 8192, WHOLE_FILE])
        with suppress(OSError):  # flash is full
            volume.fs.migrator.place(ino, prefix, keep_mirror=dice.random() < 0.5, paced=at_once)
