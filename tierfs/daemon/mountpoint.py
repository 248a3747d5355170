"""What is mounted at a mountpoint, and whether it answers; ``clearing.py`` changes that."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from tierfs.common.errors import NotMounted
from tierfs.daemon.mountinfo import Mount, mount_above, mount_at, mounts
from tierfs.daemon.runtime import runs

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

ANSWER_SECONDS: Final = 10.0
MAX_LINKS: Final = 40


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread: a mount that hangs must not hang the caller.

    Raises:
        OSError: what ``work`` raised.
        TimeoutError: ``work`` is not done after ``seconds``; its thread is left behind.
    """
    return begun(work)(seconds)


def begun(work: Callable[[], T]) -> Callable[[float], T]:
    """Start ``work`` in a thread; the returned function waits for its result, as `within`."""
    # Slow to load, and not needed to ask a daemon that has a run file.
    future: Future[T] = import_module("concurrent.futures").Future()

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
