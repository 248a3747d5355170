from __future__ import annotations

import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fs import consistency
from tests.fs.adopting import adopt
from tests.fs.calls import make
from tests.fs.migrating import mirror, must, place
from tests.fsck.image import Image
from tests.fsck.plants import (
    PLANTS,
    UNUSED,
    Plant,
    change_parent,
    forget_cut,
    put_object_for_file_without_tail,
    put_object_of_nobody,
    raise_links,
    remove_disk_object,
    remove_mirrored_head,
    stray,
    unname_file,
)
from tests.fsck.test_check import contents
from tests.support.fixtures import directory
from tests.support.fsck import assert_clean
from tests.support.volumes import LooseVolume
from tierfs.common.errors import VolumeBusy
from tierfs.fsck import kinds, repair
from tierfs.fsck.check import Finding, check
from tierfs.fsck.kinds import Kind
from tierfs.fsck.repair import Outcome

MENDED = {
    "remove_mirrored_head",
    "cut_mirror",
    "call_unmirrored_mirrored",
    "lengthen_object",
    "put_object_for_empty_file",
    "put_object_for_file_without_tail",
    "forget_cut",
    "put_object_of_nobody",
    "lose_row_of_directory",
    "unname_file",
    "unname_directory",
    "raise_links",
    "lower_links",
    "call_named_file_unlinked",
    "raise_links_of_directory",
    "lower_links_of_root",
    "put_name_in_removed_directory",
    "change_parent",
    "be_of_another_mount",
    "lower_serial",
    "miscount",
    "lose_counts",
    "put_object_of_future",
    "stray_adopted",
    "stray_checksum",
    "stray_cut",
    "stray_pin",
    "stray_request",
    "stray_xattr",
}
"""Damage after which nothing is found any more."""

PARTLY = {"remove_directory_of_objects"}
"""Of these a part is repaired: what is lost stays lost."""

TOGETHER = (
    change_parent,
    forget_cut,
    put_object_of_nobody,
    raise_links,
    remove_mirrored_head,
    stray("request", "ino, prefix"),
    unname_file,
)


def yes(_counts: Counter[Kind]) -> bool:
    return True


def run_repair(image: Image) -> Outcome:
    return repair.repair(image.settings, agree=yes)


def opened(image: Image) -> LooseVolume:
    volume = LooseVolume(image.settings)
    volume.open()
    return volume


def bytes_of_files(image: Image) -> dict[int, bytes]:
    """What every file with a name holds, by inode number."""
    rows = image.sql(
        "SELECT ino, size FROM inode WHERE nlink > 0 AND mode & 0xF000 = 0x8000 AND size >= 0"
    )
    volume = opened(image)
    try:
        return {ino: volume.fs.reads.read(ino, 0, size) for ino, size in rows}
    finally:
        volume.close()


@pytest.fixture(scope="module")
def whole(original: Image, tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """The bytes of every file before anything was harmed."""
    with directory(tmp_path_factory.mktemp("whole")) as home:
        return bytes_of_files(original.copy(home / "image"))


@pytest.mark.parametrize("name", sorted(MENDED))
def test_what_can_be_repaired_is_and_no_byte_is_lost(
    image: Image, whole: dict[int, bytes], name: str
) -> None:
    planted = {kind for kind, _ in PLANTS[name](image)}
    outcome = run_repair(image)
    if kinds.HOMELESS in planted:
        planted -= {kinds.DANGLING}  # with the row, the name leads somewhere again
    assert (outcome.report.findings, outcome.report.complete) == ([], True)
    assert planted <= set(outcome.repaired)
    assert bytes_of_files(image) == whole
    assert_clean(image.settings)


@pytest.mark.parametrize("name", sorted(MENDED))
def test_a_repaired_volume_is_consistent(image: Image, name: str) -> None:
    """By the other judge, that of the core's tests."""
    PLANTS[name](image)
    run_repair(image)
    volume = opened(image)
    try:
        consistency.check(volume, trimmed=True)
    finally:
        volume.close()


@pytest.mark.parametrize("name", sorted(set(PLANTS) - MENDED - PARTLY))
def test_what_cannot_be_repaired_stays_as_it_is(image: Image, name: str) -> None:
    wanted = {found for found in PLANTS[name](image) if found[0] is not kinds.MIRROR_DIFFERS}
    home = image.settings.path.parent
    before = contents(home)
    outcome = run_repair(image)  # it looks at no byte of a mirror
    assert {(found.kind, found.ino) for found in outcome.report.findings} == wanted
    assert outcome.repaired == Counter()
    assert contents(home) == before


def test_a_part_is_repaired(image: Image) -> None:
    wanted = PLANTS["remove_directory_of_objects"](image)
    outcome = run_repair(image)
    assert {(found.kind, found.ino) for found in outcome.report.findings} == {
        (kind, ino) for kind, ino in wanted if kind is kinds.MISSING_OBJECT
    }
    assert outcome.repaired == {kinds.HEAD_LOST: 1}


@settings(max_examples=20, deadline=None)
@given(plants=st.lists(st.sampled_from(TOGETHER), unique=True, min_size=1))
def test_several_are_repaired_together(
    original: Image, whole: dict[int, bytes], plants: list[Plant]
) -> None:
    with directory(original.settings.path.parent / "none") as home:
        image = original.copy(home / "image")
        for plant in TOGETHER:
            if plant in plants:
                plant(image)
        assert run_repair(image).report.findings == []
        assert bytes_of_files(image) == whole


def test_few_at_a_time_is_enough(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "AT_A_TIME", 1)
    for plant in TOGETHER:
        plant(image)
    assert run_repair(image).report.findings == []


def test_objects_of_nobody_are_moved_and_not_removed(image: Image) -> None:
    put_object_of_nobody(image)
    run_repair(image)
    shelter = image.settings.flash / "lost+found"
    assert (shelter / f"{UNUSED}").read_bytes() == b"lost"
    assert stat.S_IMODE(shelter.stat().st_mode) == 0o700


def test_an_object_that_its_file_does_not_need_is_moved_as_well(image: Image) -> None:
    put_object_for_file_without_tail(image)
    ino = image.ino(b"small")
    outcome = run_repair(image)
    assert outcome.repaired == {kinds.UNUSED_OBJECT: 1}
    assert (image.settings.disk / "lost+found" / f"{ino}").read_bytes() == b"lost"
    assert not image.disk(ino).exists()
    assert image.flash(ino).exists()


def test_an_object_that_is_in_the_way_stops_nothing(image: Image) -> None:
    put_object_of_nobody(image)
    (image.settings.flash / "lost+found").mkdir()
    (image.settings.flash / "lost+found" / f"{UNUSED}").write_bytes(b"earlier")
    outcome = run_repair(image)
    assert outcome.report.clean
    shelter = image.settings.flash / "lost+found"
    assert (shelter / f"{UNUSED}").read_bytes() == b"earlier"
    assert (shelter / f"{UNUSED}.1").read_bytes() == b"lost"


def test_what_has_no_name_is_found_again(image: Image) -> None:
    """Twice, so that the directory is there already; a directory brings what is in it."""
    unname_file(image)
    large = check(image.settings).findings[0].ino
    run_repair(image)
    middle = image.ino(b"middle")
    image.unname(middle)
    run_repair(image)
    volume = opened(image)
    try:
        assert volume.find(b"lost+found", b"#%d" % large).ino == large
        assert volume.find(b"lost+found", b"#%d" % middle, b"lower", b"deep").size == 9000
        assert volume.find(b"lost+found").nlink == 3
        assert stat.S_IMODE(volume.find(b"lost+found").mode) == 0o700
        assert len(list(volume.fs.listing.after(volume.find(b"lost+found").ino))) == 4
    finally:
        volume.close()


def test_a_directory_whose_row_is_lost_is_there_again(image: Image) -> None:
    PLANTS["lose_row_of_directory"](image)
    run_repair(image)
    volume = opened(image)
    try:
        assert volume.find(b"upper", b"middle", b"lower", b"deep").size == 9000
    finally:
        volume.close()


def test_a_name_that_leads_to_nothing_is_removed(image: Image) -> None:
    ino = image.ino(b"symlink")
    image.lose(ino)
    outcome = run_repair(image)
    assert (outcome.report.findings, outcome.repaired) == ([], {kinds.DANGLING: 1})


def test_numbers_are_not_given_twice_after_an_old_index(image: Image) -> None:
    PLANTS["put_object_of_future"](image)
    ((following,),) = image.sql("SELECT next_serial FROM volume")
    run_repair(image)
    assert image.sql("SELECT next_serial FROM volume") == [(following + 1,)]


def test_what_an_old_index_does_not_know_is_not_trimmed(image: Image) -> None:
    """The file has grown since the index was saved."""
    PLANTS["put_object_of_future"](image)
    PLANTS["lengthen_object"](image)
    outcome = run_repair(image)
    assert [found.kind for found in outcome.report.findings] == [kinds.LEFTOVER]
    assert kinds.LEFTOVER not in outcome.repaired
    assert image.sql("SELECT count(*) FROM cut WHERE ino = ?", image.ino(b"large")) == [(0,)]


def test_nothing_is_repaired_where_the_root_is_damaged(image: Image) -> None:
    PLANTS["lose_root"](image)
    PLANTS["raise_links"](image)
    assert run_repair(image).repaired == Counter()


def test_who_does_not_agree_changes_nothing(image: Image) -> None:
    raise_links(image)
    remove_disk_object(image)
    asked: list[Counter[Kind]] = []

    def refuse(counts: Counter[Kind]) -> bool:
        asked.append(counts)
        return False

    told: list[Finding] = []
    home = image.settings.path.parent
    before = contents(home)
    outcome = repair.repair(image.settings, agree=refuse, listener=told.append)
    assert asked == [{kinds.LINKS: 1}]
    assert len(told) == len(outcome.report.findings) == 2
    assert contents(home) == before


def test_a_clean_volume_asks_nobody(image: Image) -> None:
    def agree(counts: Counter[Kind]) -> bool:
        raise AssertionError(counts)

    assert repair.repair(image.settings, agree=agree).report.findings == []


def test_a_volume_that_is_open_is_refused(small: LooseVolume) -> None:
    with pytest.raises(VolumeBusy):
        repair.repair(small.settings, agree=yes)


def test_an_old_index_that_is_accepted_knows_no_mirror(small: LooseVolume) -> None:
    """Or an eviction would keep a mirror that is older than its head."""
    make(small, b"file")
    small.fs.data.write(small.find(b"file").ino, 0, b"old" * 3000)
    must(mirror(small, b"file")[0])
    small.close()
    old = small.settings.index.read_bytes()
    small.open()
    ino = small.find(b"file").ino
    small.fs.data.write(ino, 0, b"new" * 500)
    small.close()
    small.settings.index.write_bytes(old)
    outcome = repair.repair(small.settings, agree=lambda _: True)
    assert outcome.repaired == Counter([kinds.GENERATION])
    assert_clean(small.settings)
    small.open()
    must(place(small, b"file", 0))
    assert small.fs.reads.read(ino, 0, 9000) == b"new" * 500 + b"old" * 2500


@pytest.mark.parametrize("changed", [True, False])
def test_an_old_index_that_is_accepted_knows_no_original_that_was_copied_up(
    small: LooseVolume, home: Path, *, changed: bool
) -> None:
    (home / "tree").mkdir()
    (home / "tree/file").write_bytes(b"old" * 500)
    adopt(small, home / "tree", heads=True)
    ino = small.find(b"file").ino
    must(place(small, b"file", 4096))
    small.close()
    old = small.settings.index.read_bytes()
    small.open()
    if changed:
        small.fs.data.write(ino, 0, b"new" * 500)
    small.close()
    small.settings.index.write_bytes(old)
    repair.repair(small.settings, agree=lambda _: True)
    assert_clean(small.settings)
    small.open()
    assert small.find(b"file").adopted == (not changed)
    must(place(small, b"file", 0))
    assert small.fs.reads.read(ino, 0, 1500) == (b"new" if changed else b"old") * 500
