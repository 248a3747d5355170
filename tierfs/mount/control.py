"""The control socket of a mount: one JSON line asks, one JSON line answers.

A request is ``{"verb": "status"}``, with ``"arguments": {...}`` for a verb that takes some; the
reply ``{"result": {...}}`` or ``{"error": "why"}``.
The daemon listens on ``/run/tierfs/UUID.sock`` when root runs it, else on
``$XDG_RUNTIME_DIR/tierfs/UUID.sock``; only its own user, and root, may connect.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tierfs.base.errors import TierfsError
from tierfs.base.metrics import Metrics
from tierfs.mount.listener import BACKLOG, Listener, Service
from tierfs.mount.runtime import make_private, socket_path

log = logging.getLogger(__name__)

Verb = Callable[..., dict[str, Any]]
"""Called with the arguments of the request by name, in a thread."""

QUICK: Final = frozenset({"status"})
"""Verbs that always answer within a second or two, and never wait for those that may take long."""

MOST_SLOW: Final = 4
"""Other verbs that are answered at a time; so there is always a thread for a quick one."""


@contextmanager
def serving_control(
    volume: UUID, verbs: Mapping[str, Verb], metrics: Metrics
) -> Iterator[Listener]:
    """Answer requests with what ``verbs`` return, each called in a thread, until left.

    The caller holds the volume's lock, so that a socket left by a killed daemon can be replaced.
    Where the socket cannot be made, that is logged and tried again: data is served without it.
    """
    path = socket_path(volume)
    slow = threading.BoundedSemaphore(MOST_SLOW)
    service = Service(
        name="control socket",
        complete=lambda data: b"\n" in data,
        answer=lambda data, _: _line(_reply(verbs, data.partition(b"\n")[0], slow)),
        busy=_line(BUSY),
    )
    listener = Listener(service, lambda: _bound(path), metrics)
    listener.start()
    try:
        yield listener
    finally:
        listener.close()
        with suppress(OSError):
            path.unlink()


BUSY: Final = {"error": "too many requests at a time; ask again in a moment"}


def _line(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply).encode() + b"\n"


def _reply(
    verbs: Mapping[str, Verb], line: bytes, slow: threading.BoundedSemaphore
) -> dict[str, Any]:
    try:
        request = json.loads(line)
        name, arguments = request["verb"], dict(request.get("arguments", {}))
        verb = verbs[name]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {"error": f"a request is one JSON line with a verb of: {', '.join(sorted(verbs))}"}
    if name in QUICK:
        return _called(name, verb, arguments)
    if not slow.acquire(blocking=False):
        return BUSY
    try:
        return _called(name, verb, arguments)
    finally:
        slow.release()


def _called(name: str, verb: Verb, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": verb(**arguments)}
    except TierfsError as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("the control verb %r failed", name)
        return {"error": f"{type(error).__name__}: {error}"}


def _bound(path: Path) -> socket.socket:
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
            raw.listen(BACKLOG)
        except OSError:
            raw.close()
            raise
    except OSError as error:
        raise OSError(f"{path}: {error.strerror or error}") from error
    return raw
