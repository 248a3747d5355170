"""What an error of SQLite means: the one place that turns its result codes into an errno.

Only SQLITE_CORRUPT and SQLITE_NOTADB speak of the index itself, and even they may be the echo of a
device that failed: a page that was never written reads as an older one, or as zeros. So the files
are read once more, without SQLite, before anything is called damaged
(https://www.sqlite.org/rescode.html).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tierfs.common.errors import IndexDamaged, IndexFailed
from tierfs.metadata.schema import FAILURES

_PRIMARY: Final = 0xFF
"""Of an extended result code."""

_ERRNO: Final = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_SIZING: Final = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE})
"""A file was to be made larger: SQLite does not keep the errno, which on a full filesystem is
ENOSPC."""

_CHUNK: Final = 1024 * 1024


def failure(exc: Exception, path: Path, *, device_failed: bool = False) -> IndexFailed:
    """What to raise for an error of SQLite on the index at ``path``.

    Its errno is ENOSPC where there was no room, EROFS where nothing may be written, EACCES where a
    file cannot be opened, ENOMEM, or else EIO; ``IndexDamaged`` where the index itself is wrong.

    ``device_failed``: a call on its device failed before, which a later error may come from.
    """
    extended = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & _PRIMARY
    if code == sqlite3.SQLITE_FULL or (extended in _SIZING and _is_full(path)):
        where = f"the filesystem of {path}, or that of SQLite's temporary files"
        return IndexFailed(errno.ENOSPC, f"metadata index: {exc}: no room is left on {where}")
    if code in _DAMAGED:
        return _damage(exc, path, device_failed=device_failed)
    if code == sqlite3.SQLITE_IOERR:
        return IndexFailed(errno.EIO, f"metadata index: {path}: {_io_error(exc)}")
    hint = "; another program, such as sqlite3, has it open" if code == sqlite3.SQLITE_BUSY else ""
    return IndexFailed(_ERRNO.get(code, errno.EIO), f"metadata index: {exc}{hint}")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """A block in which SQLite's errors become those that ``failure`` gives."""
    try:
        yield
    except FAILURES as exc:
        raise failure(exc, path) from exc


def _io_error(exc: Exception) -> str:
    """SQLite's own word for every call is "disk I/O error"; the extended code names the call."""
    name = getattr(exc, "sqlite_errorname", "SQLITE_IOERR")
    call = name.removeprefix("SQLITE_IOERR").strip("_").lower().replace("_", " ")
    return f"its device failed{f' ({call})' if call else ''}: see the kernel's log ({exc})"


def _damage(exc: Exception, path: Path, *, device_failed: bool) -> IndexFailed:
    if where := unreadable(path):
        return IndexFailed(errno.EIO, f"metadata index: {where}: its device failed ({exc})")
    if device_failed:
        what = f"{exc}, after its device failed: mount the volume again"
        return IndexFailed(errno.EIO, f"metadata index: {path}: {what}")
    return IndexDamaged(errno.EIO, f"metadata index: {path}: {exc}")


def unreadable(path: Path) -> str:
    """Which file of the index at ``path`` its device cannot read, and why; empty: it can read both.

    Reads all of it. Closing the files ends this process's locks on them (fcntl(2)), which keep
    others than tierfs out: only for where something is wrong already.
    """
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            with file.open("rb", buffering=0) as stream:
                while stream.read(_CHUNK):
                    pass
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{file}: {error.strerror}"
    return ""


def _is_full(path: Path) -> bool:
    with suppress(OSError):
        return os.statvfs(path.parent).f_bavail == 0
    return False
