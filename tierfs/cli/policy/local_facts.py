"""The facts of a file, from the file itself."""

from __future__ import annotations

import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from tierfs.base.errors import UsageError
from tierfs.mount.mountinfo import mount_above
from tierfs.policy.conditions import Facts

_NO_VALUE = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the file itself does not tell; None when nothing is assumed.

    ``idle`` in nanoseconds; ``reads`` is the number within any time. (A file's access time is no
    help: mounts commonly do not keep it, or only roughly.)
    """

    idle: int | None
    reads: int | None


def local_facts(path: bytes, root: bytes | None, assumed: Assumed) -> Facts:
    """The facts of the regular file ``path``; its name in the policy starts from ``root``.

    Raises:
        UsageError: it is no regular file, or not below ``root``.
        OSError: it cannot be looked at.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{os.fsdecode(path)}: not a regular file; policies are about those only")
    real = _resolved(path)
    name = _below(real, os.path.realpath(root) if root else _root_of(real))
    now = time.time_ns()
    return Facts(
        now=now,
        size=status.st_size,
        modified=status.st_mtime_ns,
        last_read=None if assumed.idle is None else now - assumed.idle,
        uid=status.st_uid,
        gid=status.st_gid,
        find_paths=lambda: [name],
        find_xattr=lambda attribute: _xattr(path, attribute),
        count_reads=lambda _within: assumed.reads,
    )


def _resolved(path: bytes) -> bytes:
    """Absolute and without symbolic links; the file itself is none."""
    directory, name = os.path.split(path)
    return os.path.realpath(directory or b".").rstrip(b"/") + b"/" + name


def _root_of(real: bytes) -> bytes:
    """The mountpoint that a path on a tierfs mount starts from; elsewhere the root directory."""
    mount = mount_above(Path(os.fsdecode(real)))
    return bytes(mount.path) if mount is not None and mount.is_tierfs else b"/"


def _below(real: bytes, root: bytes) -> bytes:
    if root == b"/":
        return real
    if not real.startswith(root + b"/"):
        names = os.fsdecode(real), os.fsdecode(root)
        raise UsageError("{}: not below {}; name another --root".format(*names))
    return real.removeprefix(root)


def _xattr(path: bytes, name: bytes) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_VALUE:
            return None
        raise
