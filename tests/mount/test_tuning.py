from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.mounting import Mount
from tierfs.daemon.connection import BDI, READ_AHEAD_KIB, native_read_ahead_kib, set_read_ahead
from tierfs.daemon.native import (
    IDLE_DRIVER,
    cpu_latency_us,
)
from tierfs.policy.volume_file import ANY_LATENCY, AUTO_LATENCY

pytestmark = pytest.mark.once


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
    set_read_ahead(tmp_path, tmp_path)
    assert not setting.exists()
    setting.parent.mkdir()
    set_read_ahead(tmp_path, tmp_path)
    assert int(setting.read_text()) == READ_AHEAD_KIB


# -------- idle cores


def test_a_latency_that_was_asked_for_holds_on_every_machine(tmp_path: Path) -> None:
    for driver in (IDLE_DRIVER, tmp_path / "missing"):
        assert cpu_latency_us(0, driver) == 0
        assert cpu_latency_us(7, driver) == 7
        assert cpu_latency_us(ANY_LATENCY, driver) is None


@pytest.mark.parametrize(
    ("driver", "latency"), [("haltpoll\n", 0), ("intel_idle\n", None), ("none\n", None)]
)
def test_cores_are_kept_awake_by_themselves_where_halting_costs_much(
    tmp_path: Path, driver: str, latency: int | None
) -> None:
    (tmp_path / "current_driver").write_text(driver)
    assert cpu_latency_us(AUTO_LATENCY, tmp_path / "current_driver") == latency


def test_a_kernel_without_idle_states_has_nothing_to_choose(tmp_path: Path) -> None:
    assert cpu_latency_us(AUTO_LATENCY, tmp_path / "missing") is None
