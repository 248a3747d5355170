"""A systemd of its own, booted in namespaces: its units, mounts and processes end with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.proc import Argument, run, start, wait_until
from tierfs.daemon.mountinfo import mounts

SYSTEMD = Path("/lib/systemd/systemd")

BOOT = """
cgroup=$1
mkdir "$cgroup"
echo $$ > "$cgroup/cgroup.procs"
exec unshare --cgroup --mount --propagation private --pid --fork --kill-child --ipc \
    --mount-proc sh -euc '
    mount -t tmpfs tmpfs /run
    mkdir /run/lock /run/upper /run/work
    mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
    mount -t tmpfs tmpfs /mnt
    ! mountpoint -q /sys/fs/cgroup || umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    printf "[Unit]\\nDefaultDependencies=no\\n" > /etc/systemd/system/alone.target
    container=test exec "$0" --system --unit=alone.target --log-target=console
' "$2"
"""
"""Its /etc is a copy that it may write to, and its first target starts nothing of the machine."""


class Systemd:
    """A running one."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, *argv: Argument, timeout: float = 60, statuses: tuple[int, ...] = (0,)) -> str:
        """What a program prints that runs beside it, in its namespaces."""
        enter = ["nsenter", "-t", str(self._pid), "--mount", "--pid", "--cgroup", "--ipc"]
        done = run([*enter, *argv], timeout=timeout, statuses=statuses)
        return done.stdout + done.stderr

    def write(self, path: str, text: str) -> None:
        """Write a file as it sees the tree."""
        enter = ["nsenter", "-t", str(self._pid), "--mount"]
        run([*enter, "sh", "-c", 'mkdir -p "${1%/*}"; cat > "$1"', "sh", path], stdin=text)


@contextlib.contextmanager
def cgroup2() -> Iterator[Path]:
    """The machine's cgroup2 hierarchy, mounted for a while where none is that can be written."""
    places = [mount.path for mount in mounts() if mount.fstype == "cgroup2"]
    place = next((place for place in places if os.access(place, os.W_OK)), None)
    if place is not None:
        yield place
        return
    with tempfile.TemporaryDirectory() as directory:
        run(["mount", "-t", "cgroup2", "cgroup2", directory])
        try:
            yield Path(directory)
        finally:
            run(["umount", directory])


@contextlib.contextmanager
def systemd(name: str) -> Iterator[Systemd]:
    """Boot one, in the new cgroup ``name``; all its processes are killed in the end."""
    assert SYSTEMD.exists(), f"{SYSTEMD} is not there; run: make setup-test"
    with cgroup2() as hierarchy, _booted(hierarchy / name) as booted:
        yield booted


@contextlib.contextmanager
def _booted(cgroup: Path) -> Iterator[Systemd]:
    process = start(["sh", "-euc", BOOT, "sh", cgroup, SYSTEMD])
    try:
        wait_until(lambda: _first(process) is not None, what="systemd is started")
        pid = _first(process)
        assert pid is not None
        booted = Systemd(pid)
        wait_until(lambda: _answers(booted), what="systemd answers", timeout=30)
        yield booted
    finally:
        process.kill()
        process.communicate(timeout=30)
        wait_until(lambda: _removed(cgroup), what="the cgroup is empty")


def _first(process: subprocess.Popen[str]) -> int | None:
    """Process 1 of the new namespace, once it is systemd."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in map(int, children):
            if Path(f"/proc/{child}/comm").read_text() == f"{SYSTEMD.name}\n":
                return child
    return None


def _answers(booted: Systemd) -> bool:
    states = {"running\n", "degraded\n", "starting\n"}
    return booted.run("systemctl", "is-system-running", statuses=(0, 1)) in states


def _removed(cgroup: Path) -> bool:
    for directory in sorted(cgroup.rglob("*"), reverse=True):
        if directory.is_dir():
            with contextlib.suppress(OSError):
                directory.rmdir()
    with contextlib.suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()
