"""`tierfs status` answers, whatever hangs or fails below: within a second, with what is known."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.faulty_os import FaultyOs, Point
from tests.support.fixtures import MakeMount
from tests.support.loop_devices import frozen, loop_filesystem, shut_down
from tests.support.mounting import FAST_PATH, HEAD, Mount, tierfs
from tests.support.proc import start, stop
from tests.support.volumes import make_tiers, volume_settings
from tierfs.common.errors import UsageError
from tierfs.common.metrics import Metrics
from tierfs.daemon.background import BackgroundTasks
from tierfs.daemon.connection import Connection, Invalidation
from tierfs.daemon.options import parse_options
from tierfs.daemon.status import WAIT_S, Probe, Served, Status, readiness, watch_tiers
from tierfs.fs.volume import Volume, format_volume, open_volume

pytestmark = pytest.mark.alone

T = TypeVar("T")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts loop devices")

ALWAYS = 5.0
"""Seconds for the whole command on a loaded machine; the daemon itself takes half a second."""


class HangingOs(FaultyOs):
    """Calls with a label of ``hanging`` wait until ``release``."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging: set[str] = set()
        self.release = threading.Event()

    def call(self, label: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - any call
        if label in self.hanging:
            self.release.wait(30)
        return super().call(label, function, *args, **kwargs)


@pytest.fixture
def os_() -> Iterator[HangingOs]:
    os_ = HangingOs()
    yield os_
    os_.release.set()


@pytest.fixture
def volume(tmp_path: Path, os_: HangingOs) -> Iterator[Volume]:
    settings = volume_settings(tmp_path)
    make_tiers(settings)
    format_volume(settings)
    opened = open_volume(settings, metrics=Metrics(), os_=os_)
    yield opened
    os_.release.set()
    opened.close()


@pytest.fixture
def status(volume: Volume, tmp_path: Path) -> Status:
    served = Served(
        volume,
        Connection(tmp_path / "mnt", None, Invalidation()),
        parse_options(()),
        BackgroundTasks(Metrics()),
        lambda: None,
        dict,
        dict,
        dict,
        None,
        lambda: None,
        dict,
    )
    return Status(served)


def test_all_is_known_where_nothing_hangs(status: Status) -> None:
    shown = status.show(10)
    assert shown["late"] == {}
    assert shown["tiers"]["flash"]["answers"]
    assert shown["tiers"]["flash"]["capacity"] > 0
    assert shown["index"]["inodes"] == 1


@pytest.mark.parametrize("label", ["disk.statvfs", "disk.open", "disk.preadv"])
def test_a_tier_that_hangs_is_shown_with_what_was_known(
    status: Status, os_: HangingOs, label: str
) -> None:
    before = status.show(10)["tiers"]["disk"]
    os_.hanging = {label}
    began = time.monotonic()
    status.show(), status.show()
    shown = status.show()
    assert time.monotonic() - began < 3 * WAIT_S + 1
    assert shown["tiers"]["flash"]["answers"]
    disk, late = shown["tiers"]["disk"], shown["late"]["disk"]
    assert not disk["answers"]
    assert disk["capacity"] == before["capacity"]
    assert late["waiting_s"] > 0
    assert late["age_s"] >= late["waiting_s"]
    assert len([t for t in threading.enumerate() if t.name == "tierfs-probe"]) == 1
    os_.hanging.clear()
    os_.release.set()
    assert status.show(10)["tiers"]["disk"]["answers"]


def test_a_tier_that_never_answered_is_unknown(status: Status, os_: HangingOs) -> None:
    os_.hanging = {"flash.statvfs"}
    flash = status.show(0.05)["tiers"]["flash"]
    assert (flash["answers"], flash["capacity"], flash["free"]) == (False, None, None)


def test_a_tier_that_fails_is_shown_as_such(status: Status, os_: HangingOs) -> None:
    os_.clear()
    os_.fail(Point("flash.preadv"), errno.EIO)
    flash = status.show(10)["tiers"]["flash"]
    assert not flash["answers"]
    assert "Input/output error" in flash["error"]


@pytest.mark.parametrize("wait", [-1, 61, "1", None, float("nan")])
def test_a_wait_that_makes_no_sense_is_refused(status: Status, wait: object) -> None:
    with pytest.raises(UsageError, match="wait must be"):
        status.show(wait)


def test_a_scrape_does_not_wait_for_a_tier_that_hangs(volume: Volume, os_: HangingOs) -> None:
    metrics = Metrics()
    watch_tiers(volume, metrics)

    def value(name: str, tier: str) -> float | None:
        return metrics.registry.get_sample_value(f"tierfs_tier_{name}", {"tier": tier})

    os_.hanging = {"disk.statvfs"}
    assert value("answers", "flash") == 1
    assert value("answers", "disk") == 0
    assert str(value("free_bytes", "disk")) == "nan"
    assert (value("free_bytes", "flash") or 0) > 0


def test_readiness_names_what_does_not_answer(volume: Volume, os_: HangingOs) -> None:
    not_ready = readiness(volume, lambda: None)
    assert not_ready() is None
    os_.hanging = {"disk.statvfs"}
    assert not_ready() == "no answer from the disk directory"


def test_a_question_that_raises_is_told() -> None:
    def fail() -> int:
        raise KeyError

    known = Probe(fail).ask(10)
    assert (known.value, known.error, known.fresh) == (None, "KeyError", False)


def timed_status(mount: Mount | Path) -> dict[str, Any]:
    path = mount.path if isinstance(mount, Mount) else mount
    began = time.monotonic()
    shown = json.loads(tierfs("status", path, "--json", timeout=ALWAYS))
    assert time.monotonic() - began < ALWAYS
    assert isinstance(shown, dict)
    return shown


@needs_root
def test_status_of_a_flash_that_shut_down(make_mount: MakeMount, tmp_path: Path) -> None:
    with loop_filesystem(tmp_path, "xfs") as device:
        mount = make_mount(flash=device / "flash")
        mount.log.allow(".")
        shut_down(device)
        with pytest.raises(OSError, match=r"error|Read-only"):
            (mount.path / "file").write_bytes(b"x" * HEAD)
        shown = timed_status(mount)
        assert not shown["tiers"]["flash"]["answers"]
        assert shown["tiers"]["disk"]["answers"]
        assert "flash has failed" in tierfs("status", mount.path)
        mount.abort()


@needs_root
@pytest.mark.parametrize("tier", ["flash", "disk"])
def test_status_while_a_tier_hangs(make_mount: MakeMount, tmp_path: Path, tier: str) -> None:
    with loop_filesystem(tmp_path, "ext4") as device, contextlib.ExitStack() as stack:
        where = {tier: device / tier}
        mount = make_mount(flash=where.get("flash"), disk=where.get("disk"))
        mount.log.allow(".")
        (mount.path / "before").write_bytes(b"x" * 3 * HEAD)
        with frozen(device):
            writer = start(["dd", "if=/dev/zero", f"of={mount.path}/file", "bs=64k", "count=4"])
            stack.callback(stop, writer)
            time.sleep(0.5)
            assert writer.poll() is None, "the write does not hang"
            shown = timed_status(mount)
            assert shown["pid"] == mount.pid
            # Without the fast path heads are written by the event loop itself.
            assert ("event_loop" in shown["late"]) == (tier == "flash" and not FAST_PATH)
            assert timed_status(mount.volume_file)["pid"] == mount.pid
