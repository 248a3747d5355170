"""FUSE over io_uring: agreed on in INIT, and what happens where it comes to nothing.

That requests do come by the rings only a kernel can show: tests/mount/test_rings.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.rig import NO_OPEN, Rig
from tests.native.tasks import threads, threads_since, wait_for_their_end
from tests.native.wire import Op

INIT_EXT = 1 << 30
OVER_IO_URING = 1 << 9
"""In ``flags2`` of INIT."""


def agreed(rig: Rig, flags: int, flags2: int) -> bool:
    told = rig.initialise(flags, flags2)
    assert bool(told.flags & INIT_EXT) == bool(told.flags2)
    return bool(told.flags2 & OVER_IO_URING)


def test_rings_are_agreed_on_when_the_kernel_offers_them(scratch: Path) -> None:
    with Rig(scratch, io_uring=True) as rig:
        assert agreed(rig, NO_OPEN | INIT_EXT, OVER_IO_URING)


@pytest.mark.parametrize("flags", [NO_OPEN, NO_OPEN | INIT_EXT])
def test_rings_are_not_agreed_on_unless_offered(scratch: Path, flags: int) -> None:
    with Rig(scratch, io_uring=True) as rig:
        assert not agreed(rig, flags, 0)


def test_the_setting_turns_them_off(scratch: Path) -> None:
    with Rig(scratch, io_uring=False) as rig:
        assert not agreed(rig, NO_OPEN | INIT_EXT, OVER_IO_URING)


def test_a_kernel_that_then_refuses_the_rings_is_served_by_the_device(scratch: Path) -> None:
    """A socket stands for the device here, and knows no such command."""
    with Rig(scratch, io_uring=True) as rig:
        assert agreed(rig, NO_OPEN | INIT_EXT, OVER_IO_URING)
        for _ in range(20):
            rig.forwarded(Op.LOOKUP, 1, b"missing\0")


def test_stop_ends_the_threads_of_the_rings(scratch: Path) -> None:
    before = threads()
    with Rig(scratch, io_uring=True) as rig:
        assert agreed(rig, NO_OPEN | INIT_EXT, OVER_IO_URING)
        assert threads_since(before) > 2
        rig.router.stop()
        wait_for_their_end(before)
