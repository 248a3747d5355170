"""The client of the control socket: asks the daemon of a mount; ``control.py`` is the server.

In a module of its own, so that a command that only asks loads no event loop. The run file says
which socket is a mount's, so that the mount itself, which may hang, is not needed.
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
from tierfs.daemon.runtime import epitaph_of, run_of, socket_path

VOLUME_XATTR: Final = "tierfs.volume"
"""On the root directory of a mount: the volume's UUID in ASCII."""
REPLY_SECONDS: Final = 600.0
"""A verb may have to read the whole index."""
MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer."""

_UCRED: Final = struct.Struct("iII")
"""struct ucred of unix(7): process, user and group."""


def ask(
    mountpoint: Path, verb: str, *, seconds: float = REPLY_SECONDS, **arguments: object
) -> dict[str, Any]:
    """The answer of the daemon of the mount at ``mountpoint`` to ``verb``; arguments become JSON.

    ``mountpoint`` may also be the volume file. Waits ``seconds`` at most.

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
    """The UUID of the volume at ``mount``: from the run file, else from the mount.

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
        if isinstance(error, OSError) and error.errno == errno.ENOTCONN:
            why = f" ({epitaph})" if (epitaph := epitaph_of(mount)) else ""
            raise NotMounted(
                f"{mount.path} was mounted, but its daemon is gone{why}; mount it again"
            ) from error
        reason = getattr(error, "strerror", None) or error
        raise NotMounted(
            f"{mount.path} is mounted, but its daemon does not answer: {reason}"
        ) from error


def _not_ours(mount: Mount) -> str:
    return (
        f"{mount.path} belongs to the user with ID {mount.owner}; ask as that user, or as a member "
        "of the group that its volume file names (control.group)"
    )


def _parsed(answer: bytes) -> dict[str, Any]:
    """The JSON object of an answer; the daemon of another user may answer anything.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        parsed = json.loads(answer)
    except RecursionError:
        raise ValueError("its answer is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("its answer is no JSON object")  # noqa: TRY004 - about the answer, not about an argument
    return parsed


def _exchange(path: Path, request: bytes, owner: int, seconds: float) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        client.connect(os.fspath(path))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, listener, _ = _UCRED.unpack(credentials)
        if listener not in (0, owner):
            raise ValueError(f"the user with ID {listener} listens there, not the daemon")
        client.sendall(request)
        with client.makefile("rb") as answer:
            line = answer.readline(MAX_ANSWER)
    if len(line) == MAX_ANSWER:
        raise ValueError(f"its answer is longer than {MAX_ANSWER} bytes")
    return line
