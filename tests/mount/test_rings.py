"""A mount whose requests come by io_uring, where the kernel can; by the device where it cannot."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import Mount

pytestmark = [pytest.mark.alone, pytest.mark.once]

SETTING = Path("/sys/module/fuse/parameters/enable_uring")
"""Of Linux 6.14 and newer, and root's: whether the kernel offers rings to new mounts."""


@pytest.fixture
def rings() -> Iterator[int]:
    """Rings that the kernel has, one a core, and offers while a test runs; 0: it cannot."""
    if not SETTING.exists():
        yield 0
        return
    before = SETTING.read_text()
    SETTING.write_text("Y")
    yield os.cpu_count() or 1
    SETTING.write_text(before)


def threads_of_one_core(pid: int) -> int:
    """Threads that stay on one core; only those of the rings do so by themselves."""
    everywhere, pinned = os.sched_getaffinity(pid), 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
            pinned += os.sched_getaffinity(int(task.name)) != everywhere
    return pinned


def use(top: Path) -> None:
    """A little of everything, natively answered and passed on, small and large."""
    large = bytes(range(256)) * 16384
    (top / "d").mkdir()
    (top / "d/large").write_bytes(large)
    (top / "d/large").rename(top / "large")
    assert (top / "large").read_bytes() == large
    os.setxattr(top / "large", "user.a", b"1")
    assert os.getxattr(top / "large", "user.a") == b"1"
    assert os.listxattr(top / "large") == ["user.a"]
    for number in range(300):
        (top / "d" / f"{number}").write_text(f"{number}")
    assert sorted(path.name for path in top.iterdir()) == ["d", "large"]
    assert {path.name for path in (top / "d").iterdir()} == {str(n) for n in range(300)}
    assert [(top / "d" / f"{n}").read_text() for n in range(300)] == [str(n) for n in range(300)]
    assert not (top / "missing").exists()
    os.truncate(top / "large", 70_000)
    assert (top / "large").read_bytes() == large[:70_000]


def remount(mounted: Mount, fast_path: str) -> None:
    """Mount again with this section of the volume file, however the other tests mount."""
    mounted.unmount()
    mounted.configure("fast_path", fast_path)
    mounted.mount()


def test_rings_are_used_where_the_kernel_offers_them(mounted: Mount, rings: int) -> None:
    remount(mounted, "{enabled: true}")
    use(mounted.path)
    assert (threads_of_one_core(mounted.pid) > 0) == (rings > 1)


@pytest.mark.usefixtures("rings")
def test_the_setting_turns_rings_off(mounted: Mount) -> None:
    remount(mounted, "{io_uring: false}")
    use(mounted.path)
    assert threads_of_one_core(mounted.pid) == 0


@pytest.mark.usefixtures("rings")
def test_a_killed_daemon_leaves_nobody_waiting(mounted: Mount) -> None:
    remount(mounted, "{enabled: true}")
    use(mounted.path)
    mounted.kill()
    with pytest.raises(OSError, match=r"not connected|abort|cancel"):
        os.stat(mounted.path / "never")
