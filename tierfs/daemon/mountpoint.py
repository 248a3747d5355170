"""What is mounted at a mountpoint, removing a dead mount there, and unmounting."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, TypeVar

from tierfs.common.errors import MountFailed, NotMounted
from tierfs.daemon.mountinfo import Mount, mount_above, mount_at, mounts
from tierfs.daemon.runtime import runs

log = logging.getLogger(__name__)

T = TypeVar("T")

SYSTEM_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
"""Searched as well: mount(8) may run a helper with hardly any PATH."""
ANSWER_SECONDS: Final = 10.0
MAX_STACKED: Final = 16
MAX_LINKS: Final = 40
UNMOUNT_SECONDS: Final = 600.0
"""An unmount writes back what the kernel still has in memory, which may take long."""
TELL_SECONDS: Final = 2.0
"""After so long a command says what it waits for."""
MIN_SECONDS: Final = 1.0
"""For a program to start and to print its error."""


# Programs that do not end: a Popen object that is collected while its process runs warns about it.
_left_waiting: list[subprocess.Popen[bytes]] = []


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread: a mount that hangs must not hang the caller.

    Raises:
        OSError: what ``work`` raised.
        TimeoutError: ``work`` is not done after ``seconds``; its thread is left behind.
    """
    return begun(work)(seconds)


def begun(work: Callable[[], T]) -> Callable[[float], T]:
    """Start ``work`` in a thread; the returned function waits for its result, as `within`."""
    future: Future[T] = Future()

    def fulfil() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            future.set_exception(error)

    threading.Thread(target=fulfil, daemon=True).start()

    def result(seconds: float) -> T:
        try:
            return future.result(timeout=seconds)
        except TimeoutError:
            raise TimeoutError(f"no answer within {seconds:g} s") from None

    return result


def is_stale(path: Path) -> bool:
    """Whether a FUSE mount at ``path`` has lost its daemon; False if it merely hangs."""
    try:
        ask_daemon(path)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def ask_daemon(path: Path, seconds: float = ANSWER_SECONDS) -> None:
    """Return when the daemon of the mount at ``path`` answers.

    By statvfs(3), whose answer the kernel never caches, unlike that of stat(2).

    Raises:
        OSError: the daemon is gone (ENOTCONN), or its filesystem denies access.
        TimeoutError: no answer within ``seconds``.
    """
    within(seconds, lambda: os.statvfs(path))


def tierfs_at(path: Path) -> Mount:
    """The tierfs mount at ``path``, or made of the volume file ``path``.

    Raises:
        NotMounted: something else or nothing is mounted there.
    """
    listed = mounts()
    real = without_links(path, listed)
    found = mount_at(real, listed)
    if found is not None and found.is_tierfs:
        return found
    if real.is_file():
        for mount in reversed(listed):
            if mount.is_tierfs and mount.source == os.fspath(real):
                return mount
    raise NotMounted(f"{real} is not a tierfs mountpoint{_hint(real)}")


def without_links(path: Path, listed: list[Mount]) -> Path:
    """``path`` without symbolic links. A mountpoint itself is not looked up: it may hang."""
    for _ in range(MAX_LINKS):
        if path.name in {"", ".."}:
            break
        candidate = Path(os.path.realpath(path.parent), path.name)
        if mount_at(candidate, listed) is not None or not candidate.is_symlink():
            return candidate
        path = candidate.parent / candidate.readlink()
    return Path(os.path.realpath(path))


_DOING: Final = {
    "starting": "just mounting it",
    "serving": "still in use elsewhere, after a lazy unmount or in another mount namespace",
    "closing": "writing out what is not durable yet, after the unmount",
}


def _hint(real: Path) -> str:
    around = mount_above(real)
    if around is not None and around.is_tierfs:
        return f"; it lies in the tierfs mount {around.path}"
    for run in runs():
        if os.fspath(real) in {run.volume, run.mountpoint} and run.alive():
            return f"; its daemon, process {run.pid}, is {_DOING[run.state]}"
    if real.is_file():
        return "; no mount was made of such a volume file"
    return "" if real.is_dir() else "; there is no such directory"


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
