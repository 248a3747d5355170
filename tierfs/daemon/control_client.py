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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tierfs.common.collector import no_collector
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
    """`Daemon.ask` of the mount at ``mountpoint``, which may also be the volume file.

    Raises:
        NotMounted: no tierfs mount is there, or its daemon does not answer or refuses.
    """
    return Daemon(mountpoint).ask(verb, seconds=seconds, **arguments)


class Daemon:
    """The daemon of a mount, which is found once: that reads every run file."""

    def __init__(self, mountpoint: Path) -> None:
        """``mountpoint`` may also be the volume file.

        Raises:
            NotMounted: no tierfs mount is there, or its daemon is gone.
        """
        self._mount = tierfs_at(mountpoint)
        self._path = socket_path(volume_of(self._mount), self._mount.owner)

    def ask(
        self, verb: str, /, *, seconds: float = REPLY_SECONDS, **arguments: object
    ) -> dict[str, Any]:
        """The answer to ``verb``, after ``seconds`` at most; arguments become JSON.

        Raises:
            NotMounted: the daemon does not answer or refuses.
        """
        return self.ask_for_rows(verb, _no_rows, seconds=seconds, **arguments)

    def ask_for_rows(
        self,
        verb: str,
        take: Callable[[list[list[Any]]], object],
        /,
        *,
        seconds: float = REPLY_SECONDS,
        **arguments: object,
    ) -> dict[str, Any]:
        """As `ask`, of a verb that sends rows before its answer; ``take`` is given some at a time.

        ``seconds`` is the longest wait for the next ones.

        Raises:
            NotMounted: the daemon does not answer or refuses.
        """
        mount, path = self._mount, self._path
        request = json.dumps({"verb": verb, "arguments": arguments})
        try:
            answer: dict[str, Any] = {}
            with no_collector():
                for line in _lines(path, request.encode() + b"\n", mount.owner, seconds):
                    parsed = _parsed(line)
                    if isinstance(parsed, dict):
                        answer = parsed
                        break
                    take(parsed)
        except PermissionError:
            raise NotMounted(_not_ours(mount)) from None
        except (OSError, ValueError) as error:
            message = f"{mount.path} is mounted, but {path} does not answer: {error}"
            raise NotMounted(message) from error
        result = answer.get("result")
        if not isinstance(result, dict):
            raise NotMounted(f"the daemon of {mount.path} refused: {answer.get('error')}")
        return result


def _no_rows(_rows: list[list[Any]]) -> None:
    raise ValueError("its answer is not a JSON object")


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


def _parsed(answer: bytes) -> dict[str, Any] | list[Any]:
    """The JSON object of an answer, or rows before it.

    The daemon of another user may answer anything.

    Raises:
        ValueError: it is neither.
    """
    try:
        parsed = json.loads(answer)
    except RecursionError:
        raise ValueError("its answer is nested too deeply") from None
    if isinstance(parsed, dict):
        return parsed
    if not isinstance(parsed, list) or not all(isinstance(row, list) for row in parsed):
        raise ValueError("its answer is not a JSON object")
    return parsed


def _lines(path: Path, request: bytes, owner: int, seconds: float) -> Iterator[bytes]:
    """The lines of an answer; the last one may be empty."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        client.connect(os.fspath(path))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, listener, _ = _UCRED.unpack(credentials)
        if listener not in (0, owner):
            raise ValueError(f"the user with ID {listener} listens there, not the daemon")
        client.sendall(request)
        with client.makefile("rb") as answer:
            while True:
                line = answer.readline(MAX_ANSWER)
                if len(line) == MAX_ANSWER:
                    raise ValueError(f"its answer is longer than {MAX_ANSWER} bytes")
                yield line
                if not line:
                    return
