from __future__ import annotations

import os
from pathlib import Path

from tests.support.mounting import Mount
from tierfs.mount.tuning import BDI, READ_AHEAD_KIB, native_read_ahead_kib, tune


def read_ahead(path: Path, bdi: Path = BDI) -> Path:
    device = path.stat().st_dev
    return bdi / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"


def test_a_mount_reads_no_further_than_the_head(mounted: Mount) -> None:
    mounted.unmount()
    mounted.mount("fastpath")
    assert int(read_ahead(mounted.path).read_text()) == 64


def test_a_mount_through_python_reads_far_ahead(mounted: Mount) -> None:
    mounted.unmount()
    mounted.mount("no_fastpath")
    assert int(read_ahead(mounted.path).read_text()) == READ_AHEAD_KIB


def test_the_first_request_stays_within_the_head() -> None:
    assert native_read_ahead_kib(64 * 1024) == 64
    assert native_read_ahead_kib(2**30) == READ_AHEAD_KIB


def test_who_may_not_set_it_mounts_all_the_same(tmp_path: Path) -> None:
    setting = read_ahead(tmp_path, tmp_path)
    tune(tmp_path, tmp_path)
    assert not setting.exists()
    setting.parent.mkdir()
    tune(tmp_path, tmp_path)
    assert int(setting.read_text()) == READ_AHEAD_KIB
