"""Asking the daemon of a mount; the other side is ``tierfs.daemon.control``.

Apart from it, so that a command that only asks need not load an event loop. The mount itself is
not asked where the daemon's own file says who it is: a mount may hang.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tierfs.common.errors import NotMounted
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.mountpoint import ANSWER_SECONDS, tierfs_at, within
from tierfs.daemon.runtime import run_of, socket_path

VOLUME_XATTR: Final = "tierfs.volume"
"""On the root directory of a mount: the volume's UUID in ASCII."""
REPLY_SECONDS: Final = 600.0
"""A verb may have to read the whole index."""
LONGEST_ANSWER: Final = 64 * 1024 * 1024

_UCRED: Final = struct.Struct("iII")
"""struct ucred of unix(7): process, user and group."""


def ask(
    mountpoint: Path, verb: str, *, seconds: float = REPLY_SECONDS, **arguments: object
) -> dict[str, Any]:
    """What the daemon of the mount at ``mountpoint`` answers to ``verb``; arguments are for JSON.

    ``mountpoint`` may also be the volume file. The answer is waited for ``seconds`` at most.

    Raises:
        NotMounted: no tierfs mount is there, or its daemon does not answer or refuses.
    """
    mount = tierfs_at(mountpoint)
    path = socket_path(volume_of(mount), mount.owner)
    try:
        request = json.dumps({"verb": verb, "arguments": arguments})
        answer = _parsed(_exchange(path, request.encode() + b"\n", mount.owner, seconds))
    except PermissionError:
        raise NotMounted(_not_ours(mount)) from None
    except (OSError, ValueError) as error:
        raise NotMounted(f"{mount.path} is mounted, but {path} does not answer: {error}") from error
    result = answer.get("result")
    if not isinstance(result, dict):
        raise NotMounted(f"the daemon of {mount.path} refused: {answer.get('error')}")
    return result


def volume_of(mount: Mount) -> UUID:
    """The UUID of the volume at ``mount``, as its daemon tells it.

    Raises:
        NotMounted: the daemon is gone or does not answer.
    """
    if run := run_of(mount):
        return UUID(run.uuid)
    try:
        name = within(ANSWER_SECONDS, lambda: os.getxattr(mount.path, VOLUME_XATTR))
        return UUID(name.decode("ascii"))
    except PermissionError:
        raise NotMounted(_not_ours(mount)) from None
    except (OSError, ValueError) as error:
        raise NotMounted(_dead(mount, error)) from error


def _dead(mount: Mount, error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
        return f"{mount.path} was mounted, but its daemon is gone; mount it again"
    reason = getattr(error, "strerror", None) or error
    return f"{mount.path} is mounted, but its daemon does not answer: {reason}"


def _not_ours(mount: Mount) -> str:
    return (
        f"{mount.path} belongs to the user with ID {mount.owner}; ask as that user, or as a member "
        "of the group that its volume file names (control.group)"
    )


def _parsed(answer: bytes) -> dict[str, Any]:
    """The daemon of another user may answer anything.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        parsed = json.loads(answer)
    except RecursionError:
        raise ValueError("its answer is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("its answer is no JSON object")  # noqa: TRY004 - of what was said
    return parsed


def _exchange(path: Path, request: bytes, owner: int, seconds: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(seconds)
        asking.connect(os.fspath(path))
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, listener, _ = _UCRED.unpack(credentials)
        if listener not in (0, owner):
            raise ValueError(f"the user with ID {listener} listens there, not the daemon")
        asking.sendall(request)
        with asking.makefile("rb") as answer:
            line = answer.readline(LONGEST_ANSWER)
    if len(line) == LONGEST_ANSWER:
        raise ValueError(f"its answer is longer than {LONGEST_ANSWER} bytes")
    return line
