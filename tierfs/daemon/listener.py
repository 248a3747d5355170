"""A server for short requests that no client can block: of the control socket and of the metrics.

One thread accepts connections and reads requests, and waits for no client; a complete request is
answered in a thread of its own. There are limits on connections (the oldest without a request is
dropped for a new one), on answers at a time, on the bytes of a request, and on the seconds that it
and its reply may take. Nothing here runs on the event loop, so it answers while that hangs.
"""

from __future__ import annotations

import logging
import os
import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from tierfs.common.metrics import Metrics

log = logging.getLogger(__name__)

MAX_WAITING: Final = 16
"""Connections whose request is not complete."""

MAX_ANSWERING: Final = 8
"""Requests that are answered at a time."""

MAX_REQUEST: Final = 64 * 1024
"""Bytes of a request."""

REQUEST_SECONDS: Final = 5.0
"""From the connection to its complete request."""

REPLY_SECONDS: Final = 5.0
"""For sending the reply, however slowly the client reads it."""

RETRY_SECONDS: Final = 5.0
"""Between attempts to take an address that is in use."""

START_SECONDS: Final = 2.0
"""How long a mount waits for the first attempt, which may need a name server."""

STOP_SECONDS: Final = 2.0
EXHAUSTED_SECONDS: Final = 0.1
BACKLOG: Final = 64
RESERVED: Final = 256
"""Descriptors that are reserved for the filesystem: 64 calls on the disk, 32 reads of the router,
16 syncs, the movers, SQLite, and as many again. A quarter of the limit where that is less."""


class Service(NamedTuple):
    """What a listener does with requests."""

    name: str
    complete: Callable[[bytes], bool]
    """Whether these bytes are a whole request. A truncated one is answered as well."""
    answer: Callable[[bytes, socket.socket], bytes]
    """Returns the reply; called in a thread, with the connection, to find out who asks."""
    busy: bytes
    """The reply when too many requests are being answered already."""


class Listening(NamedTuple):
    """The state of a listener."""

    serving: bool
    error: str | None
    """Why it does not serve; it tries again every few seconds."""


@dataclass(slots=True)
class _Client:
    """A connection, and what has arrived of its request."""

    connection: socket.socket
    deadline: float
    data: bytes = b""


class Listener:
    """Serves one address from ``start`` to ``close``; it retries while the address is in use."""

    def __init__(
        self, service: Service, bind: Callable[[], socket.socket], metrics: Metrics
    ) -> None:
        """``bind`` makes the listening socket, or raises OSError."""
        self._service = service
        self._bind = bind
        self._refused = metrics.connections_refused.labels(service.name)
        self._state = Listening(serving=False, error=None)
        self._tried = threading.Event()
        self._stopping = threading.Event()
        self._waiting: dict[int, _Client] = {}
        """Connections whose request is being read, by descriptor, the oldest first."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._idle = threading.Condition()
        self._answering = 0
        self._thread = threading.Thread(
            target=self._run, name=f"tierfs-{service.name}", daemon=True
        )

    @property
    def state(self) -> Listening:
        """Whether it serves, and why not."""
        return self._state

    def start(self) -> None:
        """Start; if the address is in use, it is tried again in the background."""
        self._thread.start()
        self._tried.wait(START_SECONDS)

    def close(self) -> None:
        """Stop listening; answers under way have ``STOP_SECONDS`` to finish."""
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join(STOP_SECONDS)
        with self._idle:
            self._idle.wait_for(lambda: not self._answering, STOP_SECONDS)
        if not self._thread.is_alive():
            os.close(self._wake)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._bind() as listening:
                    self._changed(Listening(serving=True, error=None))
                    self._serve(listening)
            except Exception as exc:  # noqa: BLE001 - whatever fails, it is tried again
                expected = isinstance(exc, OSError)
                self._changed(Listening(serving=False, error=str(exc)), None if expected else exc)
            self._stopping.wait(RETRY_SECONDS)
        self._state = Listening(serving=False, error=None)

    def _changed(self, state: Listening, unexpected: Exception | None = None) -> None:
        before, self._state = self._state, state
        if state.serving and before.error is not None:
            log.info("%s: served now", self._service.name)
        if state.error is not None and (state.error != before.error or unexpected):
            log.warning(
                "%s: not served: %s; it is tried again every %g s",
                self._service.name,
                state.error,
                RETRY_SECONDS,
                exc_info=unexpected,
            )
        self._tried.set()

    def _serve(self, listening: socket.socket) -> None:
        """Accept and read until the listener stops.

        Raises:
            OSError: the listening socket fails.
        """
        listening.setblocking(False)  # noqa: FBT003 - the only argument there is
        with selectors.DefaultSelector() as selector, ExitStack() as resources:
            resources.callback(self._drop_all)
            selector.register(listening, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping.is_set():
                patience = None
                if self._waiting:
                    first = min(client.deadline for client in self._waiting.values())
                    patience = max(0.0, first - time.monotonic())
                for key, _ in selector.select(patience):
                    if key.fileobj is listening:
                        self._accept(listening, selector)
                    elif key.fd in self._waiting:
                        self._read(self._waiting[key.fd], selector)
                for late in [c for c in self._waiting.values() if c.deadline < time.monotonic()]:
                    self._drop(late, selector)

    def _accept(self, listening: socket.socket, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor or memory is left: the filesystem needs them
            self._refused.inc()
            self._stopping.wait(EXHAUSTED_SECONDS)
            return
        # The kernel gives out the lowest free number: a high one means that few are left.
        if connection.fileno() >= descriptors_for_connections():
            self._refused.inc()
            connection.close()
            return
        if len(self._waiting) >= MAX_WAITING:
            self._refused.inc()
            self._drop(next(iter(self._waiting.values())), selector)
        connection.setblocking(False)  # noqa: FBT003 - the only argument there is
        client = _Client(connection, time.monotonic() + REQUEST_SECONDS)
        self._waiting[connection.fileno()] = client
        selector.register(connection, selectors.EVENT_READ)

    def _read(self, client: _Client, selector: selectors.BaseSelector) -> None:
        try:
            more = client.connection.recv(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client, selector)
            return
        client.data += more
        whole = len(client.data) >= MAX_REQUEST or self._service.complete(client.data)
        if whole or not more:
            del self._waiting[client.connection.fileno()]
            selector.unregister(client.connection)
            client.data = client.data[:MAX_REQUEST]
            self._begin(client)

    def _drop(self, client: _Client, selector: selectors.BaseSelector) -> None:
        del self._waiting[client.connection.fileno()]
        selector.unregister(client.connection)
        client.connection.close()

    def _drop_all(self) -> None:
        for client in self._waiting.values():
            client.connection.close()
        self._waiting.clear()

    def _begin(self, client: _Client) -> None:
        """Answer a request, in a thread."""
        with self._idle:
            busy = self._answering >= MAX_ANSWERING
            self._answering += not busy
        if busy:
            self._refused.inc()
            _send(client.connection, self._service.busy, seconds=0)
            return
        try:
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()
        except RuntimeError:  # no thread can be started
            client.connection.close()
            self._ended()

    def _answer(self, client: _Client) -> None:
        try:
            reply = self._service.answer(client.data, client.connection)
            _send(client.connection, reply, REPLY_SECONDS)
        except Exception:
            log.exception("%s: a request could not be answered", self._service.name)
        finally:
            client.connection.close()
            self._ended()

    def _ended(self) -> None:
        with self._idle:
            self._answering -= 1
            self._idle.notify_all()


def descriptors_for_connections() -> int:
    """Descriptors below this number may be used for connections; the others are reserved."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limit - min(RESERVED, limit // 4)


def raise_descriptor_limit() -> None:
    """Raise the limit of open files as far as allowed; nothing here uses select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # a limit above the kernel's own (fs.nr_open)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _send(connection: socket.socket, reply: bytes, seconds: float) -> None:
    """Send what the client takes within ``seconds``, and close."""
    with connection, suppress(OSError):
        connection.settimeout(seconds)
        connection.sendall(reply)
