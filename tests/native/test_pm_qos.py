"""Idle cores are kept awake while requests come one upon another, and not a moment longer."""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.rig import PATIENCE_S, Rig
from tests.native.wire import Op, getattr_in
from tierfs.native._router import Router

pytestmark = pytest.mark.alone

HELD, ENDED = 3, -1
"""Microseconds that are asked for; what says that there is no limit (PM_QOS_DEFAULT_VALUE)."""

MANY = 2000
INO = 7
PATIENT_US = 10_000
"""Spinning that this test is never too slow for."""


class Device:
    """In place of /dev/cpu_dma_latency; a pipe keeps what is written."""

    def __init__(self) -> None:
        self.out, self.device = os.pipe()
        os.set_blocking(self.out, False)

    def told(self) -> list[int]:
        """What was written since this was asked last."""
        if not select.select([self.out], [], [], 0)[0]:
            return []
        return [value for (value,) in struct.iter_unpack("=i", os.read(self.out, 65536))]

    def await_end(self) -> list[int]:
        """What was written up to the end of the last limit."""
        told: list[int] = []
        until = time.monotonic() + PATIENCE_S
        while not told or told[-1] != ENDED:
            assert time.monotonic() < until, told
            select.select([self.out], [], [], 0.1)
            told += self.told()
        return told

    def close(self) -> None:
        """Both ends."""
        os.close(self.out)
        os.close(self.device)


@pytest.fixture
def device() -> Iterator[Device]:
    made = Device()
    yield made
    made.close()


def ask(rig: Rig, times: int) -> None:
    for _ in range(times):
        rig.kernel.ask(Op.GETATTR, INO, getattr_in())


def started(directory: Path, device: Device, *, spin_us: int = PATIENT_US) -> Rig:
    rig = Rig(directory, workers=1, spin_us=spin_us, pm_qos=(device.device, HELD))
    rig.initialise()
    rig.router.put_inode(inode(INO))
    return rig


def test_cores_are_kept_awake_until_nobody_asks(scratch: Path, device: Device) -> None:
    with started(scratch, device) as rig:
        for _ in range(3):
            ask(rig, MANY)
            told = device.await_end()
            assert told[0] == HELD
            assert set(zip(told[::2], told[1::2], strict=True)) == {(HELD, ENDED)}


def test_they_may_sleep_while_nobody_asks(scratch: Path, device: Device) -> None:
    with started(scratch, device) as rig:
        ask(rig, MANY)
        device.await_end()
        assert not select.select([device.out], [], [], 0.3)[0]


def test_a_few_requests_keep_nothing_awake(scratch: Path, device: Device) -> None:
    with started(scratch, device) as rig:
        for _ in range(10):
            ask(rig, 4)
            time.sleep(3 * PATIENT_US / 1e6)
    assert device.told() == []


def test_who_does_not_spin_keeps_nothing_awake(scratch: Path, device: Device) -> None:
    with started(scratch, device, spin_us=0) as rig:
        ask(rig, MANY)
    assert device.told() == []


def test_on_one_core_nothing_is_kept_awake(scratch: Path, device: Device) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        with started(scratch, device) as rig:
            ask(rig, MANY)
    finally:
        os.sched_setaffinity(0, before)
    assert device.told() == []


def test_the_limit_ends_with_the_router(scratch: Path, device: Device) -> None:
    with started(scratch, device) as rig:
        ask(rig, MANY)
    assert device.told()[-1] == ENDED


def test_a_device_that_takes_nothing_does_no_harm(scratch: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        rig = Rig(scratch, workers=1, spin_us=PATIENT_US, pm_qos=(full, HELD))
    finally:
        os.close(full)
    with rig:
        rig.initialise()
        rig.router.put_inode(inode(INO))
        ask(rig, MANY)


# -------- the face


def test_mistakes_are_told(scratch: Path, device: Device) -> None:
    with Rig(scratch) as rig, pytest.raises(RuntimeError, match="was started"):
        rig.router.use_pm_qos(device.device, 0)
    router = Router(memory=1 << 20, heads=device.out, objects=device.out)
    with pytest.raises(ValueError, match="latency_us"):
        router.use_pm_qos(device.device, -1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        router.use_pm_qos(-1, 0)


def test_the_descriptor_is_closed_with_the_router(scratch: Path, device: Device) -> None:
    rig = started(scratch, device)
    rig.stop()
    rig.forget()
    os.close(device.device)
    device.device = os.open("/dev/null", os.O_WRONLY)
    assert os.read(device.out, 65536) == b""  # else EAGAIN: somebody could still write
