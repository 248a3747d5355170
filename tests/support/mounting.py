"""A volume on two temporary directories, formatted, mounted and unmounted as a person would."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import prestarted
from tests.support.daemon_log import DaemonLog
from tests.support.proc import (
    REPOSITORY,
    TAIL,
    Argument,
    ProgramFailed,
    kill_process,
    processes_naming,
    run,
    running,
    wait_until,
)
from tests.support.volume_file import set_key
from tierfs.cli.main import main
from tierfs.common.errors import ExitCode
from tierfs.daemon.mountinfo import mount_at
from tierfs.daemon.unmount import describe, holders

HEAD = 64 * 1024
"""Bytes of a file that a volume of these tests keeps on flash unless it says otherwise."""

FAST_PATH = os.environ.get("TIERFS_TEST_FASTPATH", "1") != "0"
"""Whether the volumes of the tests are mounted with the fast path, as they are by default."""

DEAD = frozenset({errno.ENOTCONN, errno.ECONNABORTED})
"""What the kernel answers in place of a daemon that has died: the latter, if it was just asked."""

BUSY_FOR = 5
"""Seconds that others may keep a mount busy which is to be unmounted."""
LAYERS = 8
"""Mounts upon one another that a teardown takes away at most."""


def tierfs(*arguments: Argument, timeout: float = 60, statuses: Sequence[int] = (0,)) -> str:
    """Run the command `tierfs` and return what it wrote, standard error after standard output."""
    starter = prestarted.active
    if starter is None:
        done = run([sys.executable, "-m", "tierfs", *arguments], timeout=timeout, statuses=statuses)
        return done.stdout + done.stderr
    words = [os.fsdecode(argument) for argument in arguments]
    status, out, err = starter.run(words, REPOSITORY, {**os.environ, "LC_ALL": "C"}, timeout)
    if status not in statuses:
        how = f"still running after {timeout} s" if status is None else f"exit status {status}"
        message = f"tierfs {' '.join(words)}: {how}\n{out[-TAIL:]}\n{err[-TAIL:]}"
        raise ProgramFailed(message)
    return out + err


def tierfs_here(*arguments: Argument) -> str:
    """The same in this process, for what a test needs and does not test.

    An interpreter's start costs more than the work of `init`, `status` or `umount`.
    """
    words = [os.fsdecode(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words)
    if status:
        message = (
            f"tierfs {' '.join(words)}: exit status {status}\n{out.getvalue()}{err.getvalue()}"
        )
        raise ProgramFailed(message)
    return out.getvalue()


class Mount:
    """One volume in `home`: its volume file, its tiers, its mountpoint and its daemon."""

    def __init__(
        self,
        home: Path,
        *,
        flash: Path | None = None,
        disk: Path | None = None,
        index: Path | None = None,
        head: int = HEAD,
    ) -> None:
        """Format a volume. The tiers are `flash` and `disk` in `home` if not given."""
        self.path = home / "mnt"
        self.flash = flash or home / "flash"
        self.disk = disk or home / "disk"
        self.volume_file = home / "volume.yaml"
        self.head = head
        self.log = DaemonLog(home / "daemon.log")
        self.metrics_port = 0
        self.options: tuple[str, ...] = ()
        self.pid = 0
        # Whatever the umask: root mounts nothing that others can write to.
        for directory in (home, self.path, self.flash, self.disk):
            directory.mkdir(0o755, parents=True, exist_ok=True)
        index_option: list[Argument] = ["--index", index] if index else []
        tiers: list[Argument] = ["--flash", self.flash, "--disk", self.disk]
        tierfs_here("init", self.volume_file, *tiers, "--head", f"{head}", *index_option)
        self.configure("log", f"{{file: {json.dumps(str(self.log.path))}}}")
        if not FAST_PATH:
            self.configure("fast_path", "{enabled: false}")

    def configure(self, key: str, value: str) -> None:
        """Set a key of the volume file; the next mount reads it."""
        set_key(self.volume_file, key, value)

    def mount(self, *options: str) -> None:
        """Mount with `-o` and these options; returns when the mount answers."""
        chosen = ["-o", ",".join(options)] if options else []
        starter = prestarted.active
        with starter.used() if starter else contextlib.nullcontext():
            tierfs_here("mount", self.volume_file, self.path, *chosen)
        self.options = options
        self.pid = int(self.status()["pid"])

    def unmount(self) -> None:
        """Unmount and wait for the daemon's end, which is when the volume is free again.

        A test in another process may just look at every mount of the machine, which keeps this one
        busy for a moment. AssertionError names who holds it for longer.
        """
        deadline = time.monotonic() + BUSY_FOR
        while True:
            try:
                tierfs_here("umount", self.path)
                break
            except ProgramFailed as failure:
                found = mount_at(self.path)
                if "is in use" not in str(failure) or found is None:
                    raise
                if time.monotonic() > deadline:
                    who = describe(holders(found.device, found.source, found.number))
                    raise AssertionError(f"{failure}\n{who}") from failure
            time.sleep(0.1)
        self.wait_for_daemon()

    def remount(self, *options: str) -> None:
        """Unmount and mount again: the kernel's and the daemon's memory of the files is gone."""
        self.unmount()
        self.mount(*options)

    def renew(self) -> None:
        """Be mounted without options, alive and empty, whatever an earlier test left."""
        self.log.forget()
        if self.options or not (running(self.pid) and self.is_mounted()):
            self.abort()
            self.mount()
        run(["find", self.path, "-mindepth", "1", "-delete"])

    def kill(self) -> None:
        """Kill the daemon with SIGKILL; the mountpoint stays behind, stale."""
        kill_process(self.pid)

    def status(self) -> dict[str, Any]:
        """What `tierfs status --json` says."""
        status = json.loads(tierfs_here("status", self.path, "--json", "--wait", "20"))
        assert isinstance(status, dict)
        return status

    def back_up(self) -> None:
        """Make a backup, after the one that the daemon makes by itself, if that is under way."""

        def is_made() -> bool:
            said = tierfs("backup", self.volume_file, statuses=(0, ExitCode.NOT_MOUNTED))
            if "a backup is being made already" in said:
                return False
            assert "refused" not in said, said
            return True

        wait_until(is_made, what="a backup", timeout=60)

    def wait_for_daemon(self, timeout: float = 20) -> None:
        """Wait until the daemon has ended."""
        wait_until(lambda: not running(self.pid), what="the daemon ends", timeout=timeout)

    def is_mounted(self) -> bool:
        """Whether anything is mounted at the mountpoint, be it dead."""
        return mounts_at(self.path) > 0

    def flash_object(self, inode: int) -> Path:
        """Where the head of the file with this inode number is, or would be, on flash."""
        return _object(self.flash / "heads", inode)

    def disk_object(self, inode: int) -> Path:
        """Where the tail of the file with this inode number is, or would be, on disk."""
        return _object(self.disk / "objects", inode)

    def abort(self) -> None:
        """End daemon and mount by force, so that nobody waits for them any longer."""
        for pid in processes_naming(str(self.volume_file)):
            # A daemon that hangs in the kernel ends when its mount is taken away below.
            with contextlib.suppress(AssertionError):
                kill_process(pid, timeout=2)
        unmount_by_force(self.path)

    def close(self) -> None:
        """Unmount, by force if need be, then check the log; AssertionError if either is wrong."""
        try:
            if self.is_mounted() and running(self.pid):
                self.unmount()
        finally:
            self.abort()
        self.log.check()


def mounts_at(path: Path) -> int:
    """How many mounts lie upon one another at `path`."""
    wanted = os.fsencode(path)
    table = Path("/proc/self/mountinfo").read_bytes()
    return [_unescaped(line.split(b" ")[4]) for line in table.splitlines()].count(wanted)


def unmount_by_force(path: Path) -> None:
    """Take every mount at `path` away, whether or not it answers and is in use."""
    for _ in range(LAYERS):
        if not mounts_at(path):
            return
        # Forced: the kernel ends the connection, and whoever waits for an answer gets an error.
        for program in ("umount -f", "umount -l", "fusermount3 -uz"):
            with contextlib.suppress(ProgramFailed):
                run([*program.split(), path], timeout=10)
                break
    assert not mounts_at(path), f"{path} stays mounted"


def _object(root: Path, inode: int) -> Path:
    """Look the object up by its name; the two directories above it are the store's own affair."""
    found = list(root.glob(f"*/*/{inode}"))
    return found[0] if found else root / "missing" / f"{inode}"


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
