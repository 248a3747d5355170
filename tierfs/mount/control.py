"""The control socket of a mount: one JSON line asks, one JSON line answers.

A request is ``{"verb": "status"}``, with ``"arguments": {...}`` for a verb that takes some; the
reply ``{"result": {...}}`` or ``{"error": "why"}``.
The daemon listens on ``/run/tierfs/UUID.sock`` when root runs it, else on
``$XDG_RUNTIME_DIR/tierfs/UUID.sock``; only its own user, and root, may connect.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import trio

from tierfs.base.beneath import DIRECTORY
from tierfs.base.errors import MountFailed, TierfsError, UsageError
from tierfs.mount.asking import socket_path

log = logging.getLogger(__name__)

Verb = Callable[..., dict[str, Any]]
"""Called with the arguments of the request by name, in a thread. They are of the types with which
it is annotated, which are those of ``CHECKS``."""

MAX_LINE: Final = 64 * 1024
REQUEST_SECONDS: Final = 5.0
BACKLOG: Final = 16
PRIVATE: Final = 0o700
LARGEST: Final = 2**63
"""Numbers that an inode number, a size or a time in nanoseconds can be are below."""


async def serve_control(
    volume: UUID,
    verbs: Mapping[str, Verb],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests with what ``verbs`` return, each called in a thread, until cancelled.

    The caller holds the volume's lock, so that a socket left by a killed daemon can be replaced.

    Raises:
        MountFailed: the socket cannot be made.
    """
    with _listening(socket_path(volume)) as listening:
        listener = trio.SocketListener(listening)
        task_status.started()
        await trio.serve_listeners(partial(_converse, verbs), [listener])


async def _converse(verbs: Mapping[str, Verb], stream: trio.SocketStream) -> None:
    """One request; the verb runs in a thread, for it may take as long as it likes."""
    async with stream:
        with suppress(trio.BrokenResourceError, trio.TooSlowError):
            with trio.fail_after(REQUEST_SECONDS):
                line = await _read_line(stream)
            reply = await trio.to_thread.run_sync(_reply, verbs, line)
            with trio.fail_after(REQUEST_SECONDS):
                await stream.send_all(json.dumps(reply).encode() + b"\n")


async def _read_line(stream: trio.SocketStream) -> bytes:
    """The first line of ``stream``, without its end; cut at ``MAX_LINE``."""
    line = b""
    while b"\n" not in line and len(line) < MAX_LINE:
        more = await stream.receive_some(MAX_LINE)
        if not more:
            break
        line += more
    return line.partition(b"\n")[0]


def _reply(verbs: Mapping[str, Verb], line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        name, arguments = request["verb"], dict(request.get("arguments", {}))
        verb = verbs[name]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {"error": f"a request is one JSON line with a verb of: {', '.join(sorted(verbs))}"}
    try:
        _check(name, verb, arguments)
        return {"result": verb(**arguments)}
    except TierfsError as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("the control verb %r failed", name)
        return {"error": f"{type(error).__name__}: {error}"}


def _check(name: str, verb: Verb, arguments: Mapping[str, object]) -> None:
    """Refuse arguments that the verb does not take, and those of another type.

    Raises:
        UsageError: with what is wrong.
    """
    wanted = inspect.signature(verb).parameters
    for unknown in arguments.keys() - wanted.keys():
        raise UsageError(f'"{name}" takes no argument "{unknown}"')
    for argument, parameter in wanted.items():
        if argument not in arguments:
            if parameter.default is parameter.empty:
                raise UsageError(f'"{name}" needs the argument "{argument}"')
        elif parameter.annotation is not parameter.empty:
            what, is_right = CHECKS[parameter.annotation]
            if not is_right(arguments[argument]):
                raise UsageError(f'"{name}": the argument "{argument}" must be {what}')


def _is_number(value: object) -> bool:
    """JSON has numbers of any length; bool is an int to Python."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST


CHECKS: Final[Mapping[object, tuple[str, Callable[[object], bool]]]] = {
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "int": ("a whole number", _is_number),
    "str": ("text", lambda value: isinstance(value, str)),
    "list[int]": (
        "a list of whole numbers",
        lambda value: isinstance(value, list) and all(map(_is_number, value)),
    ),
    "list[str]": (
        "a list of texts",
        lambda value: isinstance(value, list) and all(isinstance(text, str) for text in value),
    ),
}
"""By the annotation as it is written: what a person is told, and whether a value is of the type."""


@contextmanager
def _listening(path: Path) -> Iterator[trio.socket.SocketType]:
    try:
        _make_private(path.parent)
        with suppress(FileNotFoundError):
            path.unlink()
        raw = _bound(path)
    except OSError as error:
        raise MountFailed(f"control socket {path}: {error.strerror or error}") from error
    with trio.socket.from_stdlib_socket(raw) as listening:
        try:
            yield listening
        finally:
            with suppress(FileNotFoundError):
                path.unlink()


def _bound(path: Path) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        raw.bind(os.fspath(path))
        path.chmod(0o600)
        raw.listen(BACKLOG)
    except OSError:
        raw.close()
        raise
    return raw


def _make_private(directory: Path) -> None:
    """Make ``directory``; in /tmp another user may have made it first, to listen in our place."""
    directory.mkdir(mode=PRIVATE, exist_ok=True)
    descriptor = os.open(directory, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise PermissionError(None, f"{directory} belongs to another user")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.fchmod(descriptor, PRIVATE)
    finally:
        os.close(descriptor)
