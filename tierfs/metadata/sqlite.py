"""SQLite itself: how to connect to the index, and what an error means.

This is the one place that turns SQLite's result codes into an errno
(https://www.sqlite.org/rescode.html). Only SQLITE_CORRUPT and SQLITE_NOTADB are about the index
itself, and even these may come from a device that failed: a page that was never written reads as an
older one, or as zeros. So the files are read again, without SQLite, before the index is reported as
damaged.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tierfs.common.errors import IndexDamaged, IndexFailed

Row = tuple[Any, ...]
"""The columns of a row, in the order of the query."""

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises when it fails. A message that quotes a damaged page may be no UTF-8."""

PRAGMAS = (
    # Of a new index: each page that a transaction touches is written to the log as a whole.
    "PRAGMA page_size = 1024",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 0",  # a checkpoint in the middle of a request would stall it
    "PRAGMA foreign_keys = OFF",
    # Some builds have it on: to remove a large attribute would write each of its pages once more,
    # which a full filesystem has no room for.
    "PRAGMA secure_delete = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA mmap_size = 0",  # a device that cannot read a mapped page ends the process (SIGBUS)
    "PRAGMA busy_timeout = 10000",
)

TO_WRITE = frozenset({"PRAGMA page_size = 1024", "PRAGMA journal_mode = WAL"})
"""Those of ``PRAGMAS`` that may change the file."""

ALONE = "PRAGMA locking_mode = EXCLUSIVE"
"""Before its first query a connection that makes no file keeps the log's index in memory."""

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


def connect(path: Path, pragmas: Sequence[str], *, read_only: bool = False) -> sqlite3.Connection:
    """Connect as the process that alone has the volume open: its locks cost no system call.

    Other processes are kept out; what connections must know of each other is in memory
    (``unix-excl``, https://www.sqlite.org/vfs.html#standard_unix_vfses).

    With ``read_only`` no file is made or changed, so that it works on what cannot be written or is
    full: the volume's own lock keeps everybody out, and a log is indexed in memory. Without a log
    the database is immutable, or SQLite would make one
    (https://www.sqlite.org/uri.html#uriimmutable).
    """
    if read_only:
        log = path.with_name(f"{path.name}-wal")
        has_log = log.exists() and log.stat().st_size > 0
        way = "mode=ro&vfs=unix-none" if has_log else "immutable=1"
        pragmas = (ALONE, *(pragma for pragma in pragmas if pragma not in TO_WRITE))
    else:
        way = "vfs=unix-excl"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{way}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        for pragma in pragmas:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def failure_of(exc: Exception, path: Path, *, device_failed: bool = False) -> IndexFailed:
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
def translating(path: Path) -> Iterator[None]:
    """A block in which SQLite's errors become those that `failure_of` gives."""
    try:
        yield
    except SQLITE_ERRORS as exc:
        raise failure_of(exc, path) from exc


def _io_error(exc: Exception) -> str:
    """SQLite's message is "disk I/O error" for every call; the extended code names the call."""
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
