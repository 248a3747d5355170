"""``tierfs fsck --online``: damage is found while programs go on, and what they do is none."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import wait_until
from tierfs.common.errors import ExitCode
from tierfs.fs.trust import OBJECTS
from tierfs.storage.layout import object_path

pytestmark = [pytest.mark.once, pytest.mark.long]

CHANGES = int(os.environ.get("TIERFS_FSCK_CHANGES", "2000"))
"""Made by two writers while a volume is checked."""


def check(mount: Mount, *statuses: int) -> dict[str, Any]:
    """The answer as JSON."""
    answer = tierfs("fsck", "--online", "--json", mount.path, statuses=statuses or (ExitCode.OK,))
    found: dict[str, Any] = json.loads(answer)
    return found


def kinds_of(found: dict[str, Any]) -> list[tuple[str, str | None]]:
    return sorted((each["kind"], each["path"]) for each in found["findings"])


def fill(root: Path) -> None:
    for name in ("small", "large", "mirrored", "gone", "short"):
        (root / name).write_bytes(b"x" * (3 * HEAD if name in {"large", "short"} else 1000))
    (root / "directory").mkdir()
    (root / "directory/link").symlink_to("../small")
    os.sync()


def test_a_volume_without_damage_is_clean(mounted: Mount) -> None:
    fill(mounted.path)
    found = check(mounted)
    assert found["findings"] == []
    assert (found["clean"], found["complete"], found["online"]) == (True, True, True)

    def counts() -> tuple[int, int, int]:
        found = check(mounted)
        return found["files"], found["inodes"], found["objects"]

    # Inodes that an earlier test unlinked wait for their FORGET, and their objects to be freed.
    wait_until(lambda: counts() == (5, 8, 7), what="only what is there to be counted")


def test_the_volume_file_will_do_and_people_are_told(mounted: Mount) -> None:
    fill(mounted.path)
    assert "Nothing is wrong." in tierfs("fsck", "--online", mounted.volume_file)


def test_damage_is_found_and_nothing_is_changed(mounted: Mount) -> None:
    fill(mounted.path)
    mounted.remount()  # nothing is dirty, and the lengths of objects are what they must be
    inodes = {name: (mounted.path / name).stat().st_ino for name in ("gone", "large", "short")}
    mounted.flash_object(inodes["gone"]).unlink()
    os.truncate(mounted.disk_object(inodes["large"]), HEAD + 10)
    unowned = mounted.disk / OBJECTS / object_path(9)
    unowned.parent.mkdir(parents=True, exist_ok=True)
    unowned.write_bytes(b"lost")
    foreign = unowned.parent / "core"
    foreign.write_bytes(b"dump")
    marker = (mounted.flash / ".tierfs").read_bytes()
    found = check(mounted, ExitCode.DAMAGE)
    assert kinds_of(found) == [
        ("foreign", os.fspath(foreign)),
        ("missing-object", "/gone"),
        ("short-object", "/large"),
        ("unowned-object", None),
    ]
    assert found["counts"] == {"loss": 2, "damage": 0, "leak": 2, "note": 0}
    assert (mounted.flash / ".tierfs").read_bytes() == marker
    assert unowned.read_bytes() == b"lost"
    foreign.unlink()
    unowned.unlink()
    (mounted.path / "gone").unlink()
    (mounted.path / "large").unlink()
    assert check(mounted)["clean"]


def test_only_one_at_a_time_and_only_where_it_makes_sense(mounted: Mount, tmp_path: Path) -> None:
    for options in (["--data"], ["--thorough"], ["--repair"], ["--yes"]):
        tierfs("fsck", "--online", *options, mounted.path, statuses=(ExitCode.USAGE,))
    tierfs("fsck", "--online", tmp_path, statuses=(ExitCode.NOT_MOUNTED,))
    mounted.unmount()
    tierfs("fsck", "--online", mounted.volume_file, statuses=(ExitCode.NOT_MOUNTED,))


Step = Callable[[Path, random.Random], object]

STEPS: tuple[Step, ...] = (
    lambda path, dice: path.write_bytes(bytes(dice.choice((0, 10, HEAD, 3 * HEAD)))),
    lambda path, dice: append(path, dice.randrange(2 * HEAD)),
    lambda path, dice: os.truncate(path, dice.randrange(3 * HEAD)),
    lambda path, _: path.unlink(),
    lambda path, dice: path.rename(path.with_name(f"f{dice.randrange(40)}")),
    lambda path, dice: os.link(path, path.with_name(f"f{dice.randrange(40)}")),
    lambda path, dice: os.setxattr(path, "user.x", bytes(dice.randrange(100))),
    lambda path, _: overwrite(path),
    lambda path, _: path.with_name(f"d{path.name}").mkdir(),
    lambda path, _: path.with_name(f"d{path.name}").rmdir(),
)


def append(path: Path, length: int) -> None:
    with path.open("ab") as file:
        file.write(bytes(length))


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
        os.fsync(file.fileno())


class Writer:
    """Changes some files again and again, and never stops before it was told to."""

    def __init__(self, root: Path, seed: int) -> None:
        root.mkdir()
        self.done = 0
        self.failure: BaseException | None = None
        self._root = root
        self._dice = random.Random(seed)
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._enough.is_set():
            path = self._root / f"f{self._dice.randrange(40)}"
            try:
                self._dice.choice(STEPS)(path, self._dice)
            except (FileNotFoundError, FileExistsError):
                continue
            except BaseException as error:  # noqa: BLE001 - told by the test
                self.failure = error
                return
            self.done += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


@contextmanager
def moving(mount: Mount) -> Iterator[None]:
    """Files are moved to and fro meanwhile."""
    enough = threading.Event()

    def move() -> None:
        while not enough.is_set():
            for verb in ("demote", "promote"):
                tierfs(verb, mount.path / "large", mount.path / "mirrored", statuses=(0, 1, 2, 8))

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@pytest.mark.timeout(600)
def test_a_busy_writer_is_never_called_damage(mounted: Mount) -> None:
    """Two writers make thousands of changes while it is checked again and again."""
    fill(mounted.path)
    checks = 0
    with (
        moving(mounted),
        Writer(mounted.path / "one", 1) as one,
        Writer(mounted.path / "two", 2) as two,
    ):
        while one.done + two.done < CHANGES or checks < 5:
            assert (one.failure, two.failure) == (None, None)
            found = check(mounted)
            assert (found["findings"], found["complete"]) == ([], True)
            checks += 1
    found = check(mounted)
    assert (found["findings"], found["clean"]) == ([], True)
