from __future__ import annotations

import os
from pathlib import Path

from tests.support.mounting import Mount
from tierfs.mount.tuning import BDI, READ_AHEAD_KIB, tune


def read_ahead(path: Path, bdi: Path = BDI) -> Path:
    device = path.stat().st_dev
    return bdi / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"


def test_a_mount_reads_far_ahead(mounted: Mount) -> None:
    assert int(read_ahead(mounted.path).read_text()) == READ_AHEAD_KIB


def test_who_may_not_set_it_mounts_all_the_same(tmp_path: Path) -> None:
    setting = read_ahead(tmp_path, tmp_path)
    tune(tmp_path, tmp_path)
    assert not setting.exists()
    setting.parent.mkdir()
    tune(tmp_path, tmp_path)
    assert int(setting.read_text()) == READ_AHEAD_KIB
