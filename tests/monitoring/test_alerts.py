"""Each alert fires on a real mount once somebody has created its condition, and not before.

A Prometheus scrapes five mounts and evaluates the alerts of `configs/prometheus`, but for the time
that a condition must hold. `test_rules.py` has the limits, on series that were made up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fs.damaging import flip
from tests.monitoring.prometheus import Prometheus, rules
from tests.support.exporter import listen
from tests.support.filesystems import fill, memory_filesystem
from tests.support.fixtures import MakeMount, directory
from tests.support.loop_devices import loop_filesystem, shut_down
from tests.support.mounting import HEAD, tierfs_here
from tests.support.proc import drop_page_cache, wait_until
from tierfs.common.errors import ExitCode, NotMounted
from tierfs.common.units import MIB, SECOND
from tierfs.daemon.control_client import ask

PATIENCE = 170
"""Seconds for which the mounts are there at most."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.once,
    pytest.mark.timeout(PATIENCE + 10),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts loop devices"),
]

WITH_A_BUG = """
import sys
from tierfs.fs.namespace import Namespace
def make(*words, **named):
    raise KeyError("a bug")
Namespace.make = make
from tierfs.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""A daemon that fails at each new name."""


class Site:
    """Mounts in good health, and the Prometheus that watches them."""

    def __init__(self, home: Path, stack: contextlib.ExitStack) -> None:
        make = MakeMount(home, stack, PATIENCE)
        self.device = stack.enter_context(loop_filesystem(home / "device", "ext4"))
        self.flash = stack.enter_context(memory_filesystem(home / "small-flash", 40))
        self.disk = stack.enter_context(memory_filesystem(home / "small-disk", 48))
        full = make.formatted(flash=self.flash / "flash", disk=self.disk / "disk")
        broken = make.formatted(disk=self.device / "disk")
        self.mounts = {name: make.formatted() for name in ("plain", "mirrored", "supervised")}
        self.mounts |= {"full": full, "broken": broken}
        for name, mount in self.mounts.items():
            # Before what holds the tiers, where a condition has made an unmount impossible.
            stack.callback(mount.abort)
            mount.log.allow(".")
            if name in {"mirrored", "broken"}:
                self.put_policy(name, "mirror: sync" if name == "mirrored" else "mirror: async")
            if name == "broken":
                mount.configure("backup", "{interval: 6s}")
            listen(mount)
            mount.mount(*(("supervise",) if name == "supervised" else ()))
        self.server = Prometheus(home, *(mount.metrics_port for mount in self.mounts.values()))
        stack.callback(self.server.stop)
        self.created: set[Callable[[Site], object]] = set()

    def put_policy(self, name: str, text: str) -> None:
        mount = self.mounts[name]
        (mount.volume_file.parent / "policy.yaml").write_text(f"version: 1\n{text}\n")
        mount.configure("policy", "policy.yaml")

    def path(self, name: str) -> Path:
        return self.mounts[name].path

    def is_quiet(self) -> bool:
        """Whether all mounts were scraped, and nobody is alarmed."""
        up = self.server.query("sum(up)")
        return bool(up) and float(up[0]["value"][1]) == len(self.mounts) and not self.alerts()

    def alerts(self) -> list[str]:
        return [one["metric"]["alertname"] for one in self.server.query("ALERTS")]

    def is_told_of(self, alert: str, name: str) -> bool:
        """Whether an alert fires for a mount."""
        told = self.server.firing(alert)
        port = f"127.0.0.1:{self.mounts[name].metrics_port}"
        return any(
            labels["instance"] == port
            and labels.get("mountpoint", str(self.path(name))) == str(self.path(name))
            for labels in told
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with directory(tmp_path_factory.mktemp("alarmed")) as home, contextlib.ExitStack() as stack:
        made = Site(home, stack)
        wait_until(made.is_quiet, what=f"no alert of sound mounts, but {made.alerts()}", timeout=60)
        yield made


# ------------------------------------------------------------------ the conditions


def write(path: Path, data: bytes) -> None:
    with path.open("wb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())


def an_old_file_is_on_flash_alone(site: Site) -> None:
    mount = site.mounts["plain"]
    write(mount.path / "old", b"x")
    mount.unmount()
    with contextlib.closing(sqlite3.connect(mount.flash / "index.db")) as index, index:
        index.execute("UPDATE inode SET ctime = ctime - ? WHERE ino > 1", (2 * 3600 * SECOND,))
    mount.mount()


def a_daemon_is_killed(site: Site) -> None:
    site.mounts["plain"].kill()


def another_program_fills_flash(site: Site) -> None:
    """Then a pinned file has no room there."""
    pinned = site.path("full") / "pinned"
    write(pinned, os.urandom(8 * MIB))
    fill(site.flash)
    os.setxattr(pinned, "tierfs.pin", b"1")


def another_program_fills_the_disk(site: Site) -> None:
    fill(site.disk)


def the_disk_fails(site: Site) -> None:
    """Then nothing can be synced, mirrored or backed up."""
    root = site.path("broken")
    with (root / "unsynced").open("wb", buffering=0) as unsynced:
        unsynced.write(bytes(2 * HEAD))
        for number in range(10):  # they would be mirrored
            (root / f"{number}").write_bytes(b"x")
        shut_down(site.device)
        with pytest.raises(OSError, match=r".") as failed:
            os.fsync(unsynced.fileno())
    assert failed.value.errno
    for number in range(10):
        (root / f"directory-{number}").mkdir()


def copies_change(site: Site) -> None:
    """A bit of a head that has a mirror, and one of a tail that has none, are flipped."""
    mount = site.mounts["mirrored"]
    write(mount.path / "healed", os.urandom(3 * HEAD))
    write(mount.path / "lost", os.urandom(3 * HEAD))
    tierfs_here("scrub", "start", "--wait", mount.path)
    flip(mount.flash_object((mount.path / "healed").stat().st_ino), 100)
    flip(mount.disk_object((mount.path / "lost").stat().st_ino), 2 * HEAD)
    with pytest.raises(AssertionError, match=f"exit status {ExitCode.DAMAGE:d}"):
        tierfs_here("scrub", "start", "--wait", mount.path)


def a_head_is_gone(site: Site) -> None:
    mount = site.mounts["mirrored"]
    path, data = mount.path / "headless", os.urandom(HEAD)
    write(path, data)
    mount.flash_object(path.stat().st_ino).unlink()
    drop_page_cache()
    assert path.read_bytes() == data


def a_tail_is_gone(site: Site) -> None:
    mount = site.mounts["plain"]
    path = mount.path / "truncated"
    write(path, os.urandom(2 * HEAD))
    mount.disk_object(path.stat().st_ino).unlink()
    drop_page_cache()
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()


def somebody_writes_a_wrong_policy(site: Site) -> None:
    site.put_policy("mirrored", "haed: 5")


def the_daemon_has_a_bug(site: Site) -> None:
    mount = site.mounts["supervised"]
    with contextlib.suppress(NotMounted):  # the daemon that is asked is killed
        ask(mount.path, "upgrade", command=[sys.executable, "-c", WITH_A_BUG])
    with pytest.raises(OSError, match="Input/output error"):
        (mount.path / "directory").mkdir()


def the_daemon_dies_thrice(site: Site) -> None:
    mount = site.mounts["supervised"]
    for _ in range(3):
        os.kill(int(mount.status()["pid"]), signal.SIGKILL)
        assert os.statvfs(mount.path)  # answered by the next one


CONDITIONS: dict[str, tuple[Callable[[Site], object], str]] = {
    "TierfsFlashOnly": (an_old_file_is_on_flash_alone, "plain"),
    "TierfsFlashFull": (another_program_fills_flash, "full"),
    "TierfsPinsDoNotFit": (another_program_fills_flash, "full"),
    "TierfsDiskFull": (another_program_fills_the_disk, "full"),
    "TierfsSyncFails": (the_disk_fails, "broken"),
    "TierfsTierIsGone": (the_disk_fails, "broken"),
    "TierfsFeedNotCopied": (the_disk_fails, "broken"),
    "TierfsBackgroundFails": (the_disk_fails, "broken"),
    "TierfsMoverSuspended": (the_disk_fails, "broken"),
    "TierfsBackupOld": (the_disk_fails, "broken"),
    "TierfsWrongCopies": (copies_change, "mirrored"),
    "TierfsLostBytes": (copies_change, "mirrored"),
    "TierfsFlashFails": (a_head_is_gone, "mirrored"),
    "TierfsDamage": (a_tail_is_gone, "plain"),
    "TierfsPolicyWrong": (somebody_writes_a_wrong_policy, "mirrored"),
    "TierfsFailure": (the_daemon_has_a_bug, "supervised"),
    "TierfsTakenOver": (the_daemon_dies_thrice, "supervised"),
    "TierfsDown": (a_daemon_is_killed, "plain"),
}
"""What makes each alert fire, and for which mount."""


def test_every_alert_has_a_condition() -> None:
    assert CONDITIONS.keys() == {rule["alert"] for rule in rules("alerts.yml")}


@pytest.mark.parametrize("alert", CONDITIONS)
def test_an_alert_fires(site: Site, alert: str) -> None:
    create, name = CONDITIONS[alert]
    if create not in site.created:
        assert not site.is_told_of(alert, name)
        site.created.add(create)
        create(site)
    wait_until(lambda: site.is_told_of(alert, name), what=f"{alert} fires", timeout=60)
