from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.guards.conftest import RunUnder
from tests.guards.mounts import TAG, current_mounts, served_by_another_run, tierfs_mounts

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
90 22 0:44 / /mnt/with\\040space rw,nosuid - fuse.tierfs /etc/a.yaml rw,user_id=0
91 22 0:45 / /mnt/other rw shared:7 master:3 - fuse.bindfs bindfs rw
"""


@contextmanager
def serving(mountpoint: str, environment: dict[str, str]) -> Iterator[None]:
    """A process with the command line of a daemon that serves ``mountpoint``."""
    waits = [sys.executable, "-c", "print(flush=True); input()", mountpoint]
    with subprocess.Popen(
        waits, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate(b"\n")


def test_mounts_are_told_by_their_type() -> None:
    assert tierfs_mounts(MOUNTINFO) == {"/mnt/with\\040space"}


def test_a_mount_is_anothers_only_while_its_daemon_lives() -> None:
    assert not served_by_another_run("/mnt/nowhere\\040at-all", "mine")
    with serving("/mnt/nowhere at-all", {TAG: "theirs"}):
        assert served_by_another_run("/mnt/nowhere\\040at-all", "mine")
    with serving("/mnt/nowhere at-all", {TAG: "mine"}):
        assert not served_by_another_run("/mnt/nowhere\\040at-all", "mine")


def test_a_mount_left_behind_is_an_error_of_the_run(
    run_under: RunUnder, pytester: pytest.Pytester
) -> None:
    mountpoint = pytester.mkdir("mountpoint")
    try:
        # Any FUSE program can take the type; bindfs is one that the tests install anyway.
        result = run_under(
            "mounts",
            f"""
            import os, subprocess

            def test_mounts():
                command = ["bindfs", "-o", "subtype=tierfs", os.getcwd(), {str(mountpoint)!r}]
                subprocess.run(command, check=True)
            """,
        )
    finally:
        subprocess.run(["umount", "--lazy", mountpoint], check=True)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["still mounted after the run:", str(mountpoint)])
    assert str(mountpoint) not in current_mounts()
