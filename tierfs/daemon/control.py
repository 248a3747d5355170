"""The control socket of a mount: a request is one JSON line, and so is the answer.

A request is ``{"verb": "status"}``, with ``"arguments": {...}`` for a verb that takes some; the
answer is ``{"result": {...}}`` or ``{"error": "why"}``. The daemon listens on
``/run/tierfs/UUID.sock`` if root runs it, else on ``$XDG_RUNTIME_DIR/tierfs/UUID.sock``. Its own
user and root may connect, and members of the group in the volume file, for verbs that change
nothing.
"""

from __future__ import annotations

import grp
import inspect
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tierfs.common.errors import TierfsError, UsageError
from tierfs.common.metrics import Metrics
from tierfs.daemon.listener import BACKLOG, Listener, Service
from tierfs.daemon.runtime import make_private, socket_path

log = logging.getLogger(__name__)

Verb = Callable[..., dict[str, Any]]
"""Called in a thread, with the arguments of the request by name. Their types are its annotations,
which must be in ``CHECKS``."""

QUICK: Final = frozenset({"status", "training status"})
"""Verbs that answer within a second or two; they never wait for a slow one."""

READING: Final = frozenset(
    {
        "status",
        "policy explain",
        "policy plan",
        "du",
        "sizes",
        "rules",
        "heads",
        "watch",
        "scrub status",
        "training status",
        "facts status",
        "facts errors",
        "fsck",
    }
)
"""Verbs that change nothing."""

FINDING: Final = frozenset({"find", "sql"})
"""Verbs that tell names and attributes of all files."""

STREAM: Final = "stream"
"""An argument that no request has: the descriptor of the connection, to which a verb may send lines
before its answer."""

_CREDENTIALS: Final = struct.Struct("3i")
"""The ``struct ucred`` of SO_PEERCRED, unix(7): process, user, group."""

MAX_SLOW: Final = 4
"""Other verbs that are answered at a time, so that a thread is left for a quick one."""

NUMBERS_BELOW: Final = 2**63
"""Every inode number, size and time in nanoseconds is below."""


@contextmanager
def serving_control(
    volume: UUID,
    verbs: Mapping[str, Verb],
    metrics: Metrics,
    group: str | None = None,
    *,
    group_finds: bool = False,
) -> Iterator[Listener]:
    """Answer requests with the results of ``verbs`` inside the block, each called in a thread.

    The caller holds the volume's lock, so a socket that a killed daemon left can be replaced.
    Members of ``group`` may connect as well, for verbs that change nothing, and for those that tell
    of all files if ``group_finds``. If the socket cannot be made, that is logged and tried
    again: the mount works without it.
    """
    path = socket_path(volume)
    for_group = READING | FINDING if group_finds else READING
    slow = threading.BoundedSemaphore(MAX_SLOW)
    service = Service(
        name="control socket",
        complete=lambda data: b"\n" in data,
        answer=lambda data, peer: _line(
            _reply(_allowed(verbs, peer, for_group), data.partition(b"\n")[0], slow, peer)
        ),
        busy=_line(BUSY),
    )
    listener = Listener(service, lambda: _bound(path, group), metrics)
    listener.start()
    try:
        yield listener
    finally:
        listener.close()
        with suppress(OSError):
            path.unlink()


BUSY: Final = {"error": "too many requests at a time; ask again in a moment"}


def _allowed(
    verbs: Mapping[str, Verb], peer: socket.socket, for_group: Collection[str]
) -> Mapping[str, Verb]:
    """The verbs for the user at the other end: all, or those that only refuse."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    if _CREDENTIALS.unpack(credentials)[1] in {0, os.geteuid()}:
        return verbs
    return {
        name: verb if name in for_group else partial(_refuse, name) for name, verb in verbs.items()
    }


def _refuse(name: str, **_arguments: object) -> dict[str, Any]:
    raise UsageError(f"only root and the user who mounted it may use {name!r}")


def _line(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply).encode() + b"\n"


def _reply(
    verbs: Mapping[str, Verb],
    line: bytes,
    slow: threading.BoundedSemaphore,
    peer: socket.socket,
) -> dict[str, Any]:
    try:
        request = json.loads(line)
        name, arguments = request["verb"], dict(request.get("arguments", {}))
        verb = verbs[name]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {"error": f"a request is one JSON line with a verb of: {', '.join(sorted(verbs))}"}
    if name in QUICK:
        return _called(name, verb, arguments, peer)
    if not slow.acquire(blocking=False):
        return BUSY
    try:
        return _called(name, verb, arguments, peer)
    finally:
        slow.release()


def _called(
    name: str, verb: Verb, arguments: dict[str, Any], peer: socket.socket
) -> dict[str, Any]:
    try:
        _check(name, verb, arguments)
        if STREAM in _parameters(verb):
            arguments[STREAM] = peer.fileno()
        return {"result": verb(**arguments)}
    except TierfsError as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("the control verb %r failed", name)
        return {"error": f"{type(error).__name__}: {error}"}


@lru_cache(maxsize=256)  # more than there are; each refusal is a function of its own
def _parameters(verb: Verb) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(verb).parameters


def _check(name: str, verb: Verb, arguments: Mapping[str, object]) -> None:
    """Check the names and types of arguments.

    Raises:
        UsageError: one is unknown, missing or of another type.
    """
    wanted = {name: one for name, one in _parameters(verb).items() if name != STREAM}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values()):
        return  # _refuse takes any arguments
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
    """JSON has numbers of any length, and bool is an int in Python."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < NUMBERS_BELOW


CHECKS: Final[Mapping[object, tuple[str, Callable[[object], bool]]]] = {
    "object": ("anything", lambda _value: True),
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
"""For each annotation, as written: the type in messages, and whether a value has it."""


def _bound(path: Path, group: str | None) -> socket.socket:
    """A listening socket at ``path``, in place of what was there.

    Raises:
        OSError: it cannot be made; the message names it.
    """
    try:
        make_private(path.parent)
        with suppress(FileNotFoundError):
            path.unlink()
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            raw.bind(os.fspath(path))
            path.chmod(0o600)
            if group is not None:
                try:
                    os.chown(path, -1, grp.getgrnam(group).gr_gid)
                except KeyError:
                    raise OSError(f"control.group: there is no group {group!r}") from None
                path.chmod(0o660)
            raw.listen(BACKLOG)
        except OSError:
            raw.close()
            raise
    except OSError as error:
        raise OSError(f"{path}: {error.strerror or error}") from error
    return raw
