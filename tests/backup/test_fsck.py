"""``tierfs fsck`` checks backups and copied changes, and tells what a restore would not have."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import directory, patience, watchdog
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, wait_until

pytestmark = pytest.mark.long


def backup_files(mount: Mount, pattern: str) -> list[Path]:
    return sorted((mount.disk / "backup").glob(pattern))


@pytest.fixture(scope="module")
def original(
    tmp_path_factory: pytest.TempPathFactory,
    forked_daemons: None,  # noqa: ARG001 - it must be there
) -> Iterator[tuple[Mount, Path]]:
    """A volume with two backups, changes behind each, and all of them copied; and a copy of it."""
    with (
        directory(tmp_path_factory.mktemp("backed-up")) as home,
        contextlib.closing(Mount(home / "volume")) as mount,
    ):
        mount.mount()
        for number in range(2):
            (mount.path / f"before {number}").write_bytes(b"bytes")
            mount.back_up()
            (mount.path / f"behind {number}").write_bytes(b"bytes")
            wait_until(lambda: mount.status()["backup"]["behind"] == 0, what="the feed is copied")
        mount.unmount()
        run(["cp", "-a", home / "volume", home / "kept"])
        yield mount, home / "kept"


@pytest.fixture
def backed_up(original: tuple[Mount, Path], request: pytest.FixtureRequest) -> Iterator[Mount]:
    """The same volume, as it was; not mounted."""
    mount, kept = original
    for tier in (mount.flash, mount.disk):
        shutil.rmtree(tier)
        run(["cp", "-a", kept / tier.name, tier])
    with watchdog(mount, patience(request)):
        yield mount
    mount.close()
    mount.log.forget()


def checked(mount: Mount, status: int) -> list[dict[str, Any]]:
    said = tierfs("fsck", "--json", mount.volume_file, statuses=[status])
    found: list[dict[str, Any]] = json.loads(said)["findings"]
    return found


def overwrite(path: Path) -> None:
    """Some bytes in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)


def fill_with_text(path: Path) -> None:
    path.write_bytes(b"no backup" * 1000)


def test_sound_backups_are_no_finding(backed_up: Mount) -> None:
    before = {path: path.read_bytes() for path in backup_files(backed_up, "*")}
    assert checked(backed_up, 0) == []
    assert before == {path: path.read_bytes() for path in backup_files(backed_up, "*")}


@pytest.mark.parametrize("harm", [overwrite, cut, fill_with_text])
@pytest.mark.parametrize("which", [0, -1])
def test_a_backup_that_is_damaged_is_told(
    backed_up: Mount, harm: Callable[[Path], None], which: int
) -> None:
    harmed = backup_files(backed_up, "index-*")[which]
    harm(harmed)
    found = checked(backed_up, 7)
    assert [(each["kind"], each["path"]) for each in found] == [("bad-backup", str(harmed))]
    backed_up.mount()  # the volume itself is sound


def test_a_segment_that_is_damaged_is_told(backed_up: Mount) -> None:
    harmed = backup_files(backed_up, "feed-*")[-1]
    fill_with_text(harmed)
    found = {each["kind"]: each["path"] for each in checked(backed_up, 7)}
    assert found["bad-backup"] == str(harmed)
    assert found["feed-gap"] == str(backup_files(backed_up, "index-*")[-1])


@pytest.mark.parametrize("older", [False, True])
def test_changes_that_are_missing_behind_the_last_backup_are_told(
    backed_up: Mount, *, older: bool
) -> None:
    segment = backup_files(backed_up, "feed-*")[-1]
    other = backup_files(backed_up, "feed-*")[0]
    if older:
        shutil.copy(other, segment)
        kinds = ["bad-backup", "feed-gap"]  # it is not what its name says
    else:
        segment.unlink()
        kinds = ["feed-gap"]
    assert [each["kind"] for each in checked(backed_up, 7)] == kinds
    backed_up.back_up()
    assert "feed-gap" not in [each["kind"] for each in checked(backed_up, 7 if older else 0)]


def test_backups_of_another_generation_are_noted(backed_up: Mount) -> None:
    for each in backed_up.flash.glob("index.db*"):
        each.unlink()
    tierfs("restore", backed_up.volume_file)
    backed_up.mount()
    wait_until(lambda: backed_up.status()["backup"]["last_s"], what="a backup", timeout=60)
    wait_until(lambda: backed_up.status()["backup"]["behind"] == 0, what="the feed is copied")
    backed_up.unmount()
    assert checked(backed_up, 0) == []
    newest = max(backup_files(backed_up, "index-*"), key=lambda path: path.stat().st_mtime_ns)
    generation = newest.name.split("-")[1]
    for each in backup_files(backed_up, f"*-{generation}-*"):
        each.unlink()
    assert [each["kind"] for each in checked(backed_up, 0)] == ["old-backups"]


def test_a_segment_that_a_kill_left_in_the_middle_is_no_finding(backed_up: Mount) -> None:
    """Its journal lies beside it, and the next mount rolls it back."""
    segment = backup_files(backed_up, "feed-*")[-1]
    connection = sqlite3.connect(segment, isolation_level=None)
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE feed SET name = zeroblob(5000)")
    journal = segment.with_name(f"{segment.name}-journal")
    left = {path: path.read_bytes() for path in (segment, journal)}
    connection.execute("ROLLBACK")
    connection.close()
    for path, content in left.items():
        path.write_bytes(content)
    assert checked(backed_up, 0) == []
    assert left == {path: path.read_bytes() for path in (segment, journal)}
    backed_up.mount()
    (backed_up.path / "more").touch()
    wait_until(lambda: backed_up.status()["backup"]["behind"] == 0, what="the feed is copied")
