"""The metrics over HTTP, by prometheus_client's own WSGI application."""

from __future__ import annotations

import io
import logging
import socket
import sys
from collections.abc import Iterable
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, make_wsgi_app

from tierfs.common.metrics import Metrics
from tierfs.daemon.listener import BACKLOG, Listener, Service

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

END: Final = b"\r\n\r\n"
WORDS: Final = 3
"""Of a request line: method, target, version (RFC 9112)."""


def metrics_listener(
    listen: tuple[str, int], registry: CollectorRegistry, metrics: Metrics
) -> Listener:
    """A listener that serves ``registry`` at an address, and waits for one that is taken."""
    application = make_wsgi_app(registry)
    service = Service(
        name="metrics",
        complete=lambda data: END in data,
        answer=lambda data, _: answered(application, data),
        busy=reply(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    return Listener(service, lambda: _bound(listen), metrics)


def _bound(listen: tuple[str, int]) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is taken, or none of this machine; the message names it.
    """
    host, port = listen
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror or error}") from error


def answered(application: WSGIApplication, request: bytes) -> bytes:
    """The reply to one HTTP request without a body."""
    head, separator, _ = request.partition(END)
    line, _, fields = head.partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if not separator or len(words) != WORDS or not words[2].startswith("HTTP/1."):
        return reply(HTTPStatus.BAD_REQUEST)
    try:
        headers = parse_headers(io.BytesIO(fields + END))
    except HTTPException:
        return reply(HTTPStatus.BAD_REQUEST)
    path, _, query = words[1].partition("?")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": words[0],
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_ACCEPT": headers.get("Accept", "*/*"),
        "HTTP_ACCEPT_ENCODING": headers.get("Accept-Encoding", ""),
    }
    try:
        return _called(application, environ)
    except Exception:
        log.exception("the metrics could not be collected")
        return reply(HTTPStatus.INTERNAL_SERVER_ERROR)


def _called(application: WSGIApplication, environ: WSGIEnvironment) -> bytes:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> object:
        started.append((status, headers))
        return sys.stdout.write  # nobody calls it: the application returns what it says

    parts: Iterable[bytes] = application(environ, start_response)  # type: ignore[arg-type]
    body = b"".join(parts)
    status, headers = started[-1]
    return _reply(status, [*headers, ("Content-Length", str(len(body)))], body)


def reply(status: HTTPStatus) -> bytes:
    """A reply that says no more than its status."""
    body = f"{status.phrase}\n".encode()
    return _reply(f"{status.value} {status.phrase}", [("Content-Length", str(len(body)))], body)


def _reply(status: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Connection: close"]).encode("latin-1") + END + body
