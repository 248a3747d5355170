"""A daemon whose mount was hidden under its last users leaves alone what is mounted there next."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.mounting import Mount, mounts_at
from tests.support.proc import run, wait_until


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_the_next_mount_at_the_same_place_stays(mounted: Mount) -> None:
    with (mounted.path / "file").open("wb"):
        os.kill(mounted.pid, signal.SIGTERM)
        wait_until(lambda: not mounted.is_mounted(), what="the busy mount is hidden")
        run(["mount", "-t", "tmpfs", "none", mounted.path])
        try:
            mounted.wait_for_daemon()
            assert mounts_at(mounted.path) == 1
        finally:
            run(["umount", mounted.path])
