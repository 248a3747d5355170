"""Names that are told to the kernel ahead, since others of their directory were looked up."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.exporter import listen, scrape
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, mounts_at
from tests.support.proc import open_files, run, thread_names, wait_until

pytestmark = pytest.mark.once

FILES = 400
LOOKUPS = 8
"""After so many in one directory, answered natively, its next names are listed, eight for each."""


@pytest.fixture
def cold(make_mount: MakeMount) -> Mount:
    """A mount whose directory `d` of files the kernel does not know yet."""
    mount = make_mount.formatted()
    mount.configure("fast_path", "{enabled: true}")
    listen(mount)
    mount.mount()
    (mount.path / "d").mkdir()
    for number in range(FILES):
        (mount.path / "d" / f"{number}").touch()
    remount(mount)
    return mount


def remount(mount: Mount) -> None:
    """Let the kernel forget, and wait for the thread that tells names ahead."""
    mount.remount()
    wait_until(lambda: "tierfs-prefetch" in thread_names(mount.pid), what="names can be told ahead")


def prefetched(mount: Mount) -> int:
    """Names told ahead since the mount."""
    return int(mount.status()["fast_path"]["prefetched_names"])


def looked_up(mount: Mount) -> float:
    """LOOKUPs since the mount, by whoever they were answered."""
    page = scrape(mount)
    return sum(value for name, value in page.items() if name.startswith(LOOKED_UP))


LOOKED_UP = 'tierfs_requests_total{operation="lookup"'


def look_up(mount: Mount, numbers: range) -> None:
    """Look files of the directory up, one after the other."""
    for number in numbers:
        os.stat(mount.path / "d" / f"{number}")


def look_up_all(mount: Mount) -> None:
    """Look all files up, in steps after each of which the names of the next are told ahead."""
    before = prefetched(mount)
    for first in range(0, FILES, LOOKUPS):
        look_up(mount, range(first, first + LOOKUPS))
        if prefetched(mount) == before + FILES:
            break
    look_up(mount, range(FILES))


def test_names_of_a_directory_come_before_they_are_asked_for(cold: Mount) -> None:
    before = looked_up(cold)
    look_up_all(cold)
    wait_until(lambda: prefetched(cold) > 0, what="names are told ahead")
    assert looked_up(cold) - before < FILES * 3 / 4


def test_no_more_names_than_lookups_are_worth(cold: Mount) -> None:
    """A program that reads a few files of a large directory does not pay for all."""
    for first in range(0, FILES // 2, LOOKUPS):
        look_up(cold, range(first, first + LOOKUPS))
        assert prefetched(cold) <= 8 * (first + LOOKUPS)
        if prefetched(cold) > 0:
            return
    raise AssertionError("no names were told ahead")


def test_what_is_told_ahead_is_what_a_lookup_tells(cold: Mount) -> None:
    for number in range(FILES):
        os.truncate(cold.path / "d" / f"{number}", number)
    remount(cold)
    look_up_all(cold)
    sizes = [os.stat(cold.path / "d" / f"{number}").st_size for number in range(FILES)]
    assert sizes == list(range(FILES))


def test_a_name_that_was_told_ahead_can_be_removed_and_made_again(cold: Mount) -> None:
    look_up_all(cold)
    target = cold.path / "d" / "0"
    target.unlink()
    assert not target.exists()
    target.write_text("again")
    assert target.stat().st_size == len("again")
    shutil.rmtree(cold.path / "d")
    assert list(cold.path.iterdir()) == []


def test_the_kernel_is_told_again_what_it_has_forgotten(cold: Mount) -> None:
    look_up_all(cold)
    told = prefetched(cold)
    Path("/proc/sys/vm/drop_caches").write_text("2")
    look_up(cold, range(LOOKUPS + 1))
    wait_until(lambda: prefetched(cold) > told, what="names are told ahead again")


def test_nothing_of_it_keeps_the_mount_busy(cold: Mount) -> None:
    """umount(2) must not fail for a directory that we ourselves list."""
    for _ in range(10):
        look_up(cold, range(FILES))
        run(["umount", cold.path])
        cold.wait_for_daemon()
        cold.mount()


def test_the_mount_s_copy_is_not_left_behind(cold: Mount) -> None:
    """Else the daemon would not end, nor anybody see why."""
    look_up_all(cold)
    wait_until(
        lambda: (
            not any(
                target == "/" or target.startswith(f"{cold.path}")
                for target in open_files(cold.pid)
            )
        ),
        what="no descriptor of our own mount is open",
    )


def test_what_lies_over_the_mount_is_left_alone(cold: Mount) -> None:
    inside = os.open(cold.path / "d", os.O_RDONLY)
    run(["mount", "-t", "tmpfs", "over", cold.path])
    try:
        for number in range(FILES):
            os.stat(f"{number}", dir_fd=inside)
        assert os.listdir(cold.path) == []
    finally:
        os.close(inside)
        run(["umount", cold.path])
    assert mounts_at(cold.path) == 1
    assert prefetched(cold) == 0


def test_the_setting_turns_it_off(cold: Mount) -> None:
    cold.unmount()
    cold.configure("fast_path", "{prefetch_names: false}")
    cold.mount()
    before = looked_up(cold)
    look_up(cold, range(FILES))
    assert "tierfs-prefetch" not in thread_names(cold.pid)
    assert looked_up(cold) - before >= FILES
    assert prefetched(cold) == 0
