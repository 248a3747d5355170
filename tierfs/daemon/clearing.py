"""Clearing a mountpoint: for a new mount, of a dead one, and unmounting.

``mountpoint.py`` says what is there, for commands that change nothing.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from tierfs.common.errors import MountFailed
from tierfs.daemon.mountinfo import Mount, mount_at, mounts
from tierfs.daemon.mountpoint import is_stale, without_links

log = logging.getLogger(__name__)

SYSTEM_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
"""Searched as well: mount(8) may run a helper with hardly any PATH."""
MAX_STACKED: Final = 16
UNMOUNT_SECONDS: Final = 600.0
"""An unmount writes back what the kernel still has in memory, which may take long."""
TELL_SECONDS: Final = 2.0
"""After so long a command says what it waits for."""
MIN_SECONDS: Final = 1.0
"""For a program to start and to print its error."""


# Programs that do not end: a Popen object that is collected while its process runs warns about it.
_left_waiting: list[subprocess.Popen[bytes]] = []


def prepare(mountpoint: Path, keep_clear: Iterable[Path]) -> Path:
    """The real path of ``mountpoint``, checked for a new mount, which may replace a dead one.

    A dead mount stays until then: without it programs would write into the directory below.

    ``keep_clear`` are the daemon's own files and directories: with a mount over or under one of
    them the daemon would wait for itself.

    Raises:
        MountFailed: it is missing, no directory, in use by a live mount, or overlaps.
    """
    real = Path(os.path.realpath(mountpoint))
    if not clear_stale(real):
        found = mount_at(real)
        if found is not None and found.is_tierfs:
            raise MountFailed(f"{found.source} is already mounted on {real}")
        _require_directory(real)
    for own in keep_clear:
        _require_apart(real, Path(os.path.realpath(own)))
    return real


def unmount(
    path: Path,
    *,
    lazy: bool = False,
    seconds: float = UNMOUNT_SECONDS,
    waiting: Callable[[], object] = lambda: None,
) -> None:
    """Unmount the topmost mount at ``path``; ``lazy`` detaches it even while in use.

    It may take ``seconds`` at most; ``waiting`` is called every ``TELL_SECONDS``.

    Raises:
        MountFailed: with the message of umount(8) or fusermount3(1).
    """
    found = mount_at(without_links(path, mounts()))
    if found is not None and os.geteuid() not in (0, found.owner):
        raise MountFailed(f"{path} was mounted by the user with ID {found.owner}, not by you")
    words = ["umount", *(["--lazy"] if lazy else [])]
    if os.geteuid() != 0:
        words = ["fusermount3", "-u", *(["-z"] if lazy else [])]
    program = find_program(words[0])
    command = [program, *words[1:], os.fspath(path)]
    status, said = _run(command, max(seconds, MIN_SECONDS), waiting)
    if status is None:
        raise MountFailed(
            f"{path} is not unmounted after {seconds:g} s: what was written to it is still being "
            "written back; tierfs status shows whether a tier does not answer"
        )
    if status != 0:
        if "busy" in said:
            raise MountFailed(
                f"{path} is in use; see by whom: fuser -vm {path} (or unmount it with --lazy)"
            )
        raise MountFailed(f"{path} cannot be unmounted: {said or 'no reason given'}")


def _run(
    command: Sequence[str], seconds: float, waiting: Callable[[], object]
) -> tuple[int | None, str]:
    """A program's exit status, None if it has not ended after ``seconds``, and its output.

    It may wait in the kernel, where no signal ends it: subprocess.run would wait with it.

    Raises:
        MountFailed: it cannot be started.
    """
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(command, stdout=printed, stderr=printed)
        except OSError as error:  # no process or descriptor is left
            raise MountFailed(f"{command[0]} cannot be run: {error.strerror}") from error
        while (left := deadline - time.monotonic()) > 0:
            try:
                process.wait(min(left, TELL_SECONDS))
            except subprocess.TimeoutExpired:
                waiting()
            else:
                printed.seek(0)
                return process.returncode, printed.read().decode(errors="replace").strip()
        process.kill()
    _left_waiting.append(process)
    return None, ""


def place_of(own: Mount, listed: list[Mount] | None = None) -> Path:
    """Where ``own`` can be unmounted: umount(8) takes the topmost mount of a path.

    Raises:
        MountFailed: nowhere, since it is unmounted already, or something lies over it.
    """
    every = mounts() if listed is None else listed
    now = next((mount for mount in every if mount.is_same(own)), None)
    if now is None:
        raise MountFailed(f"{own.path} is unmounted already")
    top = mount_at(now.path, every)
    if top is None or not top.is_same(now):
        raise MountFailed(f"another mount lies over {now.path}; unmount that, then this one")
    return now.path


def find_program(name: str) -> str:
    """The path of a system program.

    Raises:
        MountFailed: it is not installed.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if found is None:
        raise MountFailed(f"the program {name!r} is missing; install the package fuse3")
    return found


def clear_stale(path: Path) -> bool:
    """Whether a dead tierfs mount is at ``path``; of several on top of each other, one is left.

    Raises:
        MountFailed: it is another filesystem's, or something alive is below it.
    """
    for _ in range(MAX_STACKED):
        if not is_stale(path):
            return False
        stacked = [mount for mount in mounts() if mount.path == path]
        if not stacked or not stacked[-1].is_tierfs:
            kind = f"a dead {stacked[-1].fstype} mount" if stacked else "a dead mount"
            raise MountFailed(f"{kind} is in the way at {path}; remove it: umount --lazy {path}")
        if len(stacked) == 1 or not stacked[-2].is_tierfs:
            return True
        log.warning("unmounting %s, whose tierfs daemon is gone", path)
        unmount(path, lazy=True)
    return True


def _require_directory(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise MountFailed(f"mountpoint {path} does not exist; make it: mkdir {path}") from None
    except OSError as error:
        raise MountFailed(f"mountpoint {path}: {error.strerror}") from error
    if not stat.S_ISDIR(mode):
        raise MountFailed(f"mountpoint {path} is not a directory")


def _require_apart(mountpoint: Path, own: Path) -> None:
    if mountpoint in (own, *own.parents):
        raise MountFailed(f"a mount on {mountpoint} would hide {own}, which tierfs itself uses")
    if own in mountpoint.parents:
        raise MountFailed(f"mountpoint {mountpoint} lies in {own}, which is tierfs's own")
