"""Every call of every kind of move fails once: the file is whole, and the next attempt succeeds."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fs import scenarios
from tests.fs.calls import file_of
from tests.fs.consistency import check
from tests.fs.migrating import KINDS, Kind, ready, same, small_chunks, state
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import Damage, FsError, errno_of

TAKE_ROOM = (".open", ".pwrite", ".ftruncate", ".fdatasync", ".syncfs", ".commit", "index.sync")
"""Calls that may find none."""


@pytest.fixture(scope="module")
def template() -> Iterator[LooseVolume]:
    with scenarios.template() as made, small_chunks():
        yield made


def points(template: LooseVolume, home: Path, kind: Kind) -> list[Point]:
    """Every call of the move, without the moments that are none."""
    with ready(template, home, kind) as volume:
        assert kind.do(volume).outcome == "moved"
        found = volume.os.points()
        assert state(volume.find(kind.name)) == kind.end
        same(volume, kind, "undisturbed")
        volume.reopen()
        check(volume, trimmed=True)
    return [point for point in found if not point.label.startswith("move.")]


def codes(point: Point) -> list[int]:
    return [errno.EIO, *([errno.ENOSPC] if point.label.endswith(TAKE_ROOM) else [])]


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_call_that_fails_spoils_nothing(
    template: LooseVolume, home: Path, kind: Kind, expect_log: ExpectLog
) -> None:
    for message in ("was not freed", "could not be mirrored", "could not be freed", "closing left"):
        expect_log(message, required=False)
    expect_log("could not be written to the device", required=False)
    for point in points(template, home / "recorded", kind):
        for code in codes(point):
            with ready(template, home / "faulty", kind) as volume:
                volume.os.fail(point, code)
                where = f"{errno.errorcode[code]} at {point}"
                attempt(volume, kind, code, where)
                synced = point.label != "index.sync" and not volume.fs.dirty.errors
                again(volume, kind, where, synced=synced)


def attempt(volume: LooseVolume, kind: Kind, code: int, where: str) -> None:
    """Move while one call fails: it succeeds, finds no room, or fails with the errno."""
    try:
        outcome: str = kind.do(volume).outcome
    except (OSError, FsError) as exc:
        outcome = f"failed {errno_of(exc)}"
    volume.os.clear()
    allowed = {"moved", "failed", f"failed {code}", "no-room" if code == errno.ENOSPC else "moved"}
    assert outcome in allowed, where
    same(volume, kind, where)
    assert state(volume.find(kind.name)) == (kind.end if outcome == "moved" else kind.start), where
    check(volume)


def again(volume: LooseVolume, kind: Kind, where: str, *, synced: bool) -> None:
    """The same move works once nothing fails; nothing is left over."""
    if not synced:  # no later sync is believed until then
        volume.reopen()
    assert kind.do(volume).outcome in {"moved", "nothing"}, where
    volume.reopen()
    assert state(volume.find(kind.name)) == kind.end, where
    same(volume, kind, where)
    check(volume, trimmed=True)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_short_write_is_no_failure(template: LooseVolume, home: Path, kind: Kind) -> None:
    for point in points(template, home / "recorded", kind):
        if point.label.endswith(".pwrite"):
            with ready(template, home / "short", kind) as volume:
                volume.os.write_short(point, 1)
                assert kind.do(volume).outcome == "moved", point
                same(volume, kind, str(point))


@pytest.mark.parametrize("synced", [True, False], ids=["synced", "dirty"])
@pytest.mark.parametrize("way", ["place", "mirror"])
def test_damage_that_a_migration_finds_is_counted(
    small: LooseVolume, way: str, expect_log: ExpectLog, *, synced: bool
) -> None:
    ino = file_of(small, b"x" * 1000)
    if synced:
        small.fs.syncer.checkpoint()
    small.flash_object(ino).unlink()
    if way == "place":
        with pytest.raises(Damage):
            small.fs.migrator.place(ino, 0, keep_mirror=False, paced=lambda _length: None)
    else:
        expect_log("could not be mirrored")
        (migrated,) = small.fs.migrator.mirror([ino], paced=lambda _length: None)
        assert migrated.outcome == "failed"
    assert small.metrics.registry.get_sample_value("tierfs_damage_total") == 1
