"""A volume handled as its user does it: by the commands of tierfs, run as programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierfs.base.errors import ExitCode, TierfsError
from tierfs.demo.mounts import is_mounted
from tierfs.demo.workspace import Workspace, undisturbed

COMMAND_S = 120.0
"""Seconds after which a command is given up."""

CLEAN_UP_S = 20.0
"""The same when all is to be thrown away, so that force does no harm."""

BUSY_S = 10.0
BUSY_PAUSE_S = 0.5
"""How long, in seconds, a mount in use is tried again, and how often."""

PATIENCE_S = 15.0
"""Seconds for a daemon to end by itself, then once more after SIGTERM."""

BY_FORCE = (["umount", "-l"], ["fusermount3", "-u", "-z"])
"""Lazy unmounts, as root and as anybody: they work when the daemon does not answer."""

LOG_LINES = 10
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SOCKETS = Path("/run/tierfs")
"""Where the control sockets of root's daemons are; a killed daemon leaves its own behind."""


@dataclass(frozen=True, slots=True)
class TierStatus:
    """What ``tierfs status`` says of one tier: objects in it and their bytes."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """What ``tierfs status --json`` says, as far as it is shown here. Sizes are in bytes."""

    head: int
    flash: TierStatus
    disk: TierStatus
    index_bytes: int
    index_inodes: int


class CommandFailed(TierfsError):
    """A command of tierfs failed; carries the exit code that it ended with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        known = {int(one) for one in ExitCode}
        self.exit_code = ExitCode(code) if code in known else ExitCode.UNEXPECTED


class Volume:
    """One volume in a workspace. Every method raises CommandFailed with what the command said."""

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self._uuid = ""

    def init(self) -> None:
        """``tierfs init``, and keep the daemon's log in the workspace."""
        work = self._work
        said = self._run("init", work.volume_file, "--flash", work.flash, "--disk", work.disk)
        found = UUID.search(said)
        self._uuid = found[0] if found else ""
        with work.volume_file.open("a", encoding="utf-8") as file:
            file.write(f"log: {{format: text, level: info, file: {work.log.name}}}\n")

    def mount(self) -> None:
        """``tierfs mount``; the mount answers when this returns."""
        self._run("mount", self._work.volume_file, self._work.mountpoint)

    def unmount(self) -> None:
        """``tierfs umount``, and wait for the daemon's end, when the volume is free again."""
        self._unmount_when_idle()
        if not _wait_for_end(self._work.volume_file):
            raise TierfsError("the daemon is still there after the unmount" + self.log_tail())

    def _unmount_when_idle(self) -> None:
        """Other programs, such as an indexer, may look into any mount for a moment."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self._run("umount", self._work.mountpoint)
            except CommandFailed:
                if not is_mounted(self._work.mountpoint) or time.monotonic() > deadline:
                    raise
                time.sleep(BUSY_PAUSE_S)
            else:
                return

    def status(self) -> Status:
        """``tierfs status --json``."""
        return parse_status(self._run("status", self._work.mountpoint, "--json", "--wait", "60"))

    def clean_up(self) -> None:
        """Unmount whatever state all is in, by force in the end, and end the daemon."""
        if is_mounted(self._work.mountpoint):
            with suppress(CommandFailed):
                self._run("umount", self._work.mountpoint, patience=CLEAN_UP_S)
        if not _wait_for_end(self._work.volume_file):
            _unmount_by_force(self._work.mountpoint)
            _end_daemons(self._work.volume_file)
        _unmount_by_force(self._work.mountpoint)
        for directory in (SOCKETS, Path(os.environ.get("XDG_RUNTIME_DIR", "/run"), "tierfs")):
            with suppress(OSError):
                (directory / f"{self._uuid}.sock").unlink()

    def _run(self, *arguments: str | Path, patience: float = COMMAND_S) -> str:
        command = [sys.executable, "-m", "tierfs", *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            message = f"tierfs {arguments[0]} did not end in {patience:.0f} s"
            raise CommandFailed(message + self.log_tail(), ExitCode.UNEXPECTED) from exc
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip() or "it said nothing"
            raise CommandFailed(f"tierfs {arguments[0]} failed: {said}", done.returncode)
        return done.stdout

    def log_tail(self) -> str:
        """The end of the daemon's log, to be put after a message."""
        with suppress(OSError):
            lines = self._work.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\nThe daemon's log ends:\n" + "\n".join(lines[-LOG_LINES:])
        return ""


@contextmanager
def volume(work: Workspace, *, keep: bool) -> Iterator[Volume]:
    """A volume that is unmounted at the end, whatever happens, unless it shall be kept."""
    one = Volume(work)
    try:
        yield one
    finally:
        if not keep:
            with undisturbed():
                one.clean_up()


def parse_status(text: str) -> Status:
    """Read the JSON of ``tierfs status``. Raises TierfsError when it is of another shape."""
    try:
        data = json.loads(text)
        tiers = {name: _parse_tier(data["tiers"][name]) for name in ("flash", "disk")}
        index = data["index"]
        return Status(
            int(data["head"]),
            tiers["flash"],
            tiers["disk"],
            int(index["bytes"]),
            int(index["inodes"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise TierfsError(f"cannot understand what tierfs status says: {exc!r}") from exc


def _parse_tier(tier: dict[str, Any]) -> TierStatus:
    return TierStatus(int(tier["files"]), int(tier["bytes"]))


def daemons(volume_file: Path) -> list[int]:
    """Processes whose command line names the volume file: nobody else knows of its directory."""
    name = os.fsencode(volume_file)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if name in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _wait_for_end(volume_file: Path) -> bool:
    end = time.monotonic() + PATIENCE_S
    while daemons(volume_file):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _end_daemons(volume_file: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in daemons(volume_file):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if _wait_for_end(volume_file):
            return


def _unmount_by_force(mountpoint: Path) -> None:
    for command in BY_FORCE:
        if is_mounted(mountpoint):
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    [*command, mountpoint], capture_output=True, timeout=PATIENCE_S, check=False
                )
