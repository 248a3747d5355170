"""How long the head of a file is, on the mount that it lies in."""

from __future__ import annotations

import errno
import os
import threading
from typing import Final

from tierfs.base.errors import NotMounted

HEAD_XATTR: Final = "tierfs.head"
"""On every file and directory of a mount: the length of heads, in bytes, as ASCII digits."""

_NOT_TIERFS: Final = frozenset({errno.EOPNOTSUPP, errno.ENODATA, errno.ENOSYS})
_DAEMON_GONE: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


class Heads:
    """Asks once for each mount, not for each file: the kernel remembers no extended attribute."""

    def __init__(self) -> None:
        self._known: dict[int, int | None] = {}
        self._asking = threading.Lock()

    def length(self, device: int, file: int | bytes) -> int | None:
        """The length of heads in the mount with ``device`` as its st_dev; None: no tierfs mount.

        ``file`` is any file in it, by descriptor or path.

        Raises:
            OSError: the file may not be asked.
        """
        with self._asking:
            if device not in self._known:
                self._known[device] = _ask(file)
            return self._known[device]


def _ask(file: int | bytes) -> int | None:
    try:
        return int(os.getxattr(file, HEAD_XATTR))
    except OSError as error:
        if error.errno in _NOT_TIERFS:
            return None
        raise


def require_daemon(error: OSError, path: bytes) -> None:
    """Return when ``error`` is about one file only.

    Raises:
        NotMounted: the mount's daemon is gone, and every other file would fail as well.
    """
    if error.errno in _DAEMON_GONE:
        raise NotMounted(
            f"{os.fsdecode(path)} cannot be reached: the daemon of its mount is gone; "
            "mount it again"
        ) from error
