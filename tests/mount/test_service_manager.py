"""The daemon as a service: it says when the mount answers, lives, and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount
from tests.support.proc import start, wait_until
from tests.support.systemd import Systemd, systemd
from tierfs.cli.install_helpers import UNIT, unit
from tierfs.daemon import service_manager
from tierfs.daemon.mountinfo import mount_at

pytestmark = [pytest.mark.long, pytest.mark.once, pytest.mark.timeout(180)]

# ---------------------------------------------------------------- the protocol


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket as a service manager has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(os.fspath(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


ALIVE = {"WATCHDOG": "1"}


def told(manager: socket.socket, *, but: dict[str, str] | None = None) -> dict[str, str]:
    """The next message that is not ``but``."""
    while True:
        lines = manager.recv(4096).decode().splitlines()
        message = dict(line.split("=", 1) for line in lines)
        if message != but:
            return message


def test_ready_means_that_the_mount_is_there(make_mount: MakeMount, manager: socket.socket) -> None:
    mount = make_mount.formatted()
    env = {
        **os.environ,
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "300000",
    }
    command = [sys.executable, "-m", "tierfs", "mount", "--foreground"]
    with contextlib.ExitStack() as stack:
        daemon = start([*command, mount.volume_file, mount.path], env=env)
        stack.callback(daemon.communicate)
        stack.callback(daemon.kill)
        first = told(manager, but=ALIVE)
        found = mount_at(mount.path)
        assert found is not None
        assert found.is_tierfs
        assert first == {
            "READY": "1",
            "STATUS": f"{mount.volume_file} is mounted on {mount.path}",
        }
        (mount.path / "file").write_text("it answers")
        assert [told(manager) for _ in range(3)] == [ALIVE] * 3
        daemon.send_signal(signal.SIGTERM)
        assert told(manager, but=ALIVE)["STOPPING"] == "1"
        daemon.communicate(timeout=30)
        assert daemon.returncode == 0


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/socket", "@nobody-listens"])
def test_nothing_is_told_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    service_manager.ready("mounted")


def test_an_abstract_address_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0tierfs-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@tierfs-test-{os.getpid()}")
        service_manager.alive()
        assert listening.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("period", "process", "seconds"),
    [
        ("30000000", None, 30.0),
        ("30000000", "own", 30.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_the_watchdog_of_this_process_alone_counts(
    monkeypatch: pytest.MonkeyPatch, period: str | None, process: str | None, seconds: float | None
) -> None:
    named = {"WATCHDOG_USEC": period, "WATCHDOG_PID": process}
    for name, value in named.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(os.getpid()) if value == "own" else value)
    assert service_manager.watchdog_seconds() == seconds


# ---------------------------------------------------------------- under systemd

SERVICE = "tierfs@images.service"
MOUNTPOINT = "/mnt/images"

DEPENDANT = f"""
[Unit]
DefaultDependencies=no
Requires={SERVICE}
After={SERVICE}
[Service]
Type=oneshot
ExecStart=/bin/sh -c '(findmnt -n -o FSTYPE {MOUNTPOINT}; cat {MOUNTPOINT}/file) >> /run/seen'
"""


@pytest.fixture
def service(make_mount: MakeMount) -> Iterator[tuple[Systemd, Mount]]:
    """A systemd that has the unit of a volume with one file, not started yet."""
    if os.geteuid() != 0:
        pytest.skip("systemd boots as root")
    mount = make_mount()
    (mount.path / "file").write_text("content\n")
    mount.unmount()
    with systemd(f"tierfs-test-{os.getpid()}") as booted:
        booted.run("sh", "-c", f"mkdir {MOUNTPOINT}")
        booted.write(f"/etc/systemd/system/{UNIT}", unit())
        booted.write("/etc/systemd/system/dependant.service", DEPENDANT)
        booted.write(
            f"/etc/systemd/system/{SERVICE}.d/short.conf",
            "[Unit]\nDefaultDependencies=no\n[Service]\nWatchdogSec=3\n",
        )
        booted.write("/etc/tierfs/images.yaml", mount.volume_file.read_text())
        booted.run("systemctl", "daemon-reload")
        with contextlib.ExitStack() as stack:
            stack.callback(booted.run, "systemctl", "stop", SERVICE)
            yield booted, mount


def main_pid(booted: Systemd) -> int:
    """The daemon's process ID there; 0: there is none."""
    return int(booted.run("systemctl", "show", "--value", "-p", "MainPID", SERVICE))


def restarted(booted: Systemd, before: int) -> bool:
    shown = booted.run("systemctl", "is-active", SERVICE, statuses=(0, 3))
    return shown == "active\n" and main_pid(booted) not in (0, before)


def test_what_is_ordered_after_the_unit_never_sees_the_bare_directory(
    service: tuple[Systemd, Mount],
) -> None:
    booted, _ = service
    for _ in range(3):
        booted.run("systemctl", "start", "dependant.service")
        booted.run("systemctl", "stop", SERVICE)
    assert booted.run("cat", "/run/seen") == "fuse.tierfs\ncontent\n" * 3
    assert booted.run("ls", "-A", MOUNTPOINT) == "", "it is unmounted"


def test_a_daemon_that_is_killed_or_hangs_is_replaced(service: tuple[Systemd, Mount]) -> None:
    booted, _ = service
    booted.run("systemctl", "start", SERVICE)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        before = main_pid(booted)
        booted.run("kill", f"-{number}", str(before))
        wait_until(lambda: restarted(booted, before), what="it is mounted again", timeout=40)  # noqa: B023
        assert booted.run("cat", f"{MOUNTPOINT}/file") == "content\n"
    assert "on /mnt/images" in booted.run("systemctl", "status", "--no-pager", SERVICE)


def test_a_stop_writes_everything_out_in_time(service: tuple[Systemd, Mount]) -> None:
    booted, mount = service
    booted.run("systemctl", "start", SERVICE)
    booted.run("sh", "-c", f"echo new > {MOUNTPOINT}/new")
    began = time.monotonic()
    booted.run("systemctl", "stop", SERVICE)
    assert time.monotonic() - began < 30
    assert booted.run("systemctl", "is-failed", SERVICE, statuses=(1,)) == "inactive\n"
    mount.mount()
    assert (mount.path / "new").read_text() == "new\n"
    assert not any(mount.status()["late"])


def test_a_reload_applies_the_policy_or_fails(service: tuple[Systemd, Mount]) -> None:
    booted, _ = service
    text = booted.run("cat", "/etc/tierfs/images.yaml")
    booted.write("/etc/tierfs/images.yaml", f"{text}\npolicy: policy.yaml\n")
    booted.write("/etc/tierfs/policy.yaml", "version: 1\n")
    booted.run("systemctl", "start", SERVICE)
    booted.run("systemctl", "reload", SERVICE)
    booted.write("/etc/tierfs/policy.yaml", "version: 1\nrulez: []\n")
    booted.run("systemctl", "reload", SERVICE, statuses=(1,))
