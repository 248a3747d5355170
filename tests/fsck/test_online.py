"""The second look of ``fsck --online``: what is wrong by now is told, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from tests.fs.migrating import mirror
from tests.fs.scenarios import FILES, populate
from tests.support.volumes import LooseVolume
from tierfs.fsck import kinds
from tierfs.fsck.check import Finding, Report
from tierfs.fsck.online import Suspects, look_again


def looked(
    volume: LooseVolume, *inos: int, elsewhere: tuple[Finding, ...] = (), disagreement: str = ""
) -> Report:
    suspects = Suspects(Report("", online=True), list(inos), list(elsewhere))
    placements, path_of = volume.fs.placements, volume.index.path_of
    return look_again(suspects, placements, path_of, lambda: disagreement, lambda: False)


def test_what_is_right_by_now_is_explained(small: LooseVolume) -> None:
    populate(small)
    inos = [small.find(name).ino for name in FILES]
    report = looked(small, *inos, 9999)  # dirty files, and one that was removed
    assert (report.findings, report.explained) == ([], len(inos) + 1)
    small.fs.syncer.checkpoint()
    mirror(small, b"small")
    report = looked(small, *inos)
    assert (report.findings, report.explained) == ([], len(inos))


def test_what_waits_to_be_trimmed_is_no_leftover(small: LooseVolume) -> None:
    populate(small)
    small.fs.syncer.checkpoint()
    ino = small.find(b"large").ino
    small.fs.data.truncate(ino, 10)
    assert looked(small, ino).findings == []
    small.fs.reclaimer.drain()
    small.fs.syncer.checkpoint()
    with small.flash_object(ino).open("ab") as file:
        file.write(b"more")
    assert [found.kind for found in looked(small, ino).findings] == [kinds.LEFTOVER]


def test_what_is_wrong_is_told_with_its_path(small: LooseVolume) -> None:
    populate(small)
    small.fs.syncer.checkpoint()
    large, other = small.find(b"large").ino, small.find(b"other").ino
    small.disk_object(large).unlink()
    report = looked(small, large, other)
    assert [(found.kind, found.ino, found.path) for found in report.findings] == [
        (kinds.MISSING_OBJECT, large, b"/large")
    ]
    assert report.explained == 1


def test_a_dirty_file_must_have_what_was_synced(small: LooseVolume) -> None:
    populate(small)
    small.fs.syncer.checkpoint()
    ino = small.find(b"large").ino
    small.fs.data.write(ino, 0, b"new")
    assert looked(small, ino).findings == []
    os.truncate(small.flash_object(ino), 10)
    assert [found.kind for found in looked(small, ino).findings] == [kinds.SHORT_OBJECT]


def test_what_is_gone_from_the_directories_is_not_told(small: LooseVolume, tmp_path: Path) -> None:
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.touch()
    findings = [Finding(kinds.FOREIGN, 0, "", os.fsencode(path)) for path in (there, gone)]
    report = looked(small, elsewhere=tuple(findings))
    assert report.findings == findings[:1]


def test_a_generation_counts_if_it_disagrees_now(small: LooseVolume) -> None:
    finding = Finding(kinds.GENERATION, 0, "as it was", remedy=5)
    assert looked(small, elsewhere=(finding,)).findings == []
    report = looked(small, elsewhere=(finding,), disagreement="as it is")
    assert [found.what for found in report.findings] == ["as it is"]


def test_a_volume_that_is_being_closed_was_not_checked(small: LooseVolume) -> None:
    suspects = Suspects(Report(""), [1], [])
    report = look_again(suspects, small.fs.placements, small.index.path_of, str, lambda: True)
    assert not report.complete
