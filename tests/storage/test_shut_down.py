"""A sync never returns as if all were well when the filesystem below has shut down.

XFS lets some do, and ext4 where its journal is lost: see `tierfs.common.sync`.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.powercut.devices import FailingFilesystem
from tests.support.loop_devices import loop_filesystem, shut_down
from tests.support.proc import run
from tierfs.common.osio import SYSTEM
from tierfs.common.sync import sync_data, sync_file, sync_filesystem
from tierfs.storage.objects import ObjectStore

ROUNDS = int(os.environ.get("TIERFS_SHUTDOWN_ROUNDS", "8"))
"""Of shutdowns beside syncs; without the check about one of four shows an acknowledged loss."""
THREADS = 4


@pytest.mark.parametrize("sync", [sync_file, sync_data, sync_filesystem])
@pytest.mark.parametrize("name", [".", "file"], ids=["directory", "file"])
def test_a_sync_fails_after_a_shutdown(
    tmp_path: Path, sync: Callable[[int], None], name: str
) -> None:
    with loop_filesystem(tmp_path, "xfs") as path:
        (path / "file").touch()
        descriptor = os.open(path / name, os.O_RDONLY)
        try:
            shut_down(path)
            with pytest.raises(OSError, match="Input/output error"):
                sync(descriptor)
        finally:
            os.close(descriptor)


def test_the_name_of_an_object_is_not_synced_after_a_shutdown(tmp_path: Path) -> None:
    with loop_filesystem(tmp_path, "xfs") as path:
        (path / "objects").mkdir()
        store = ObjectStore("disk", path / "objects", SYSTEM)
        try:
            store.write(7, 0, b"bytes")
            shut_down(path)
            with pytest.raises(OSError, match="Input/output error"):
                store.directories.sync_name(7)
        finally:
            store.close()


def _write_until_it_fails(directory: Path, thread: int, synced: dict[int, int]) -> None:
    """Make files, each synced before it counts in ``synced[thread]``."""
    with contextlib.suppress(OSError):
        for number in range(1_000_000):
            descriptor = os.open(directory / f"{thread}-{number}", os.O_CREAT | os.O_WRONLY)
            try:
                os.write(descriptor, b"%d" % number * 1000)
                sync_data(descriptor)
            finally:
                os.close(descriptor)
            synced[thread] = number + 1


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_what_was_synced_beside_a_shutdown_is_there(tmp_path: Path) -> None:
    chance = random.Random(5)
    for number in range(ROUNDS):
        synced = dict.fromkeys(range(THREADS), 0)
        with loop_filesystem(tmp_path / str(number), "xfs") as path:
            threads = [
                threading.Thread(target=_write_until_it_fails, args=(path, thread, synced))
                for thread in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(0.03 + chance.random() * 0.1)
            shut_down(path)
            for thread in threads:
                thread.join()
            run(["umount", path])
            run(["mount", "-o", "loop", path.with_suffix(".image"), path])
            lost = [
                f"{thread}-{file}"
                for thread, files in synced.items()
                for file in range(files)
                if not _has(path / f"{thread}-{file}", b"%d" % file * 1000)
            ]
        assert not lost, f"round {number}: synced and lost"


def _has(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


@pytest.mark.parametrize("sync", [sync_file, sync_data, sync_filesystem])
def test_a_sync_fails_when_that_of_another_file_has_lost_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Callable[[int], None]
) -> None:
    """Both were in one transaction; ext4 tells only who committed it."""
    monkeypatch.setattr("tierfs.common.sync._has_journal", {})
    with (
        contextlib.closing(FailingFilesystem(tmp_path, tmp_path / "ext4")) as device,
        contextlib.ExitStack() as opened,
    ):
        one, other = (
            os.open(device.at / name, os.O_CREAT | os.O_RDWR) for name in ("one", "other")
        )
        for descriptor in (one, other):
            opened.callback(os.close, descriptor)
            os.write(descriptor, b"in the block that is written again")
        sync(other)
        device.fail_journal()
        for descriptor in (one, other):
            os.write(descriptor, b"more")
        with pytest.raises(OSError, match="Input/output error"):
            os.fdatasync(one)
        with pytest.raises(OSError, match=r"Read-only|Input/output"):
            sync(other)
        device.heal()


def test_a_filesystem_with_the_device_number_of_an_earlier_one_is_known_apart(
    tmp_path: Path,
) -> None:
    image, at = tmp_path / "image", tmp_path / "at"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    device = run(["losetup", "--find", "--show", image]).stdout.strip()
    try:
        for options in ("rw", "ro"):
            run(["mkfs.ext4", "-q", "-F", device])
            run(["mount", "-o", options, device, at])
            descriptor = os.open(at, os.O_RDONLY)
            try:
                sync_file(descriptor)
            finally:
                os.close(descriptor)
                run(["umount", at])
    finally:
        run(["losetup", "--detach", device])


def test_a_filesystem_that_nobody_may_write_to_has_nothing_to_sync(tmp_path: Path) -> None:
    with loop_filesystem(tmp_path, "ext4") as path:
        run(["mount", "-o", "remount,ro", path])
        descriptor = os.open(path, os.O_RDONLY)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
