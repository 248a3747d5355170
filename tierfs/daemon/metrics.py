"""The metrics over HTTP, by prometheus_client's WSGI application.

With the fast path the exported values are the sums of what Python and the router counted. The
router counts without the GIL; its counters are read at each scrape. ``/-/healthy`` and ``/-/ready``
are for a supervisor that probes, as those of Prometheus itself.
"""

from __future__ import annotations

import io
import logging
import socket
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from tierfs.common.metrics import LATENCY_BUCKETS, Metrics
from tierfs.daemon.listener import BACKLOG, Listener, Service

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

    from tierfs.native._router import Answered, Counters

log = logging.getLogger(__name__)

END: Final = b"\r\n\r\n"
WORDS: Final = 3
"""In a request line: method, target, version (RFC 9112)."""


HEALTHY: Final = "/-/healthy"
READY: Final = "/-/ready"

Readiness = Callable[[], str | None]
"""Why requests of the filesystem are not answered as they should be; None: they are."""


def metrics_listener(
    listen: tuple[str, int], registry: CollectorRegistry, metrics: Metrics, not_ready: Readiness
) -> Listener:
    """A listener that serves ``registry`` at an address; it retries while the address is in use."""
    application = make_wsgi_app(registry)
    service = Service(
        name="metrics",
        complete=lambda data: END in data,
        answer=lambda data, _: answered(application, not_ready, data),
        busy=reply(HTTPStatus.SERVICE_UNAVAILABLE),
    )
    return Listener(service, lambda: _bound(listen), metrics)


def _bound(listen: tuple[str, int]) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is in use, or not of this machine; the message names it.
    """
    host, port = listen
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror or error}") from error


def answered(application: WSGIApplication, not_ready: Readiness, request: bytes) -> bytes:
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
    if path == HEALTHY:
        return reply(HTTPStatus.OK)
    if path == READY:
        why = not_ready()
        return reply(HTTPStatus.OK if why is None else HTTPStatus.SERVICE_UNAVAILABLE, why)
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


def reply(status: HTTPStatus, text: str | None = None) -> bytes:
    """A reply with a line of text: ``text``, or what the status means."""
    body = f"{text or status.phrase}\n".encode()
    return _reply(f"{status.value} {status.phrase}", [("Content-Length", str(len(body)))], body)


def _reply(status: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Connection: close"]).encode("latin-1") + END + body


# ------------------------------------------------------------------ what is exported

INFINITE = float("inf")


class NativeCounters(NamedTuple):
    """The counters of a router, and what their rows and buckets mean."""

    snapshot: Callable[[], Counters]
    answered: Sequence[str]
    """Requests, in the order of ``Counters.answered``."""
    buckets: Sequence[float]
    """Upper bounds of the latency buckets, in seconds: those of the exported histogram."""


class _Key(NamedTuple):
    """Which sample of which family."""

    family: str
    sample: str
    labels: tuple[tuple[str, str], ...]


def exposition(
    registry: CollectorRegistry, mount: Mapping[str, str], native: NativeCounters | None
) -> CollectorRegistry:
    """What a scrape gets: ``registry`` with the router's counters added, and the process's metrics.

    Each sample of tierfs has the labels ``mount`` as well, so that one query tells the mounts of
    a machine apart. The process's metrics have the names that every client library gives them.
    """
    exported = CollectorRegistry()
    exported.register(_Merged(registry, mount, native))
    ProcessCollector(registry=exported)
    return exported


class _Merged(Collector):
    def __init__(
        self, registry: Collector, mount: Mapping[str, str], native: NativeCounters | None
    ) -> None:
        self._registry = registry
        self._mount = dict(mount)
        self._native = native

    def collect(self) -> Iterator[Metric]:
        more = {} if self._native is None else dict(_samples(self._native))
        for family in self._registry.collect():
            present = [_added(family.name, sample, more) for sample in family.samples]
            added = [key for key in more if key.family == family.name]
            present += [Sample(key.sample, dict(key.labels), more[key]) for key in added]
            family.samples = [one._replace(labels=one.labels | self._mount) for one in present]
            yield family


class _Some(Collector):
    """Some of the metrics: to collect all asks the tiers as well."""

    def __init__(self, *metrics: Collector) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics:
            yield from metric.collect()


def counted(metrics: Metrics, native: NativeCounters | None) -> dict[str, Any]:
    """Requests, bytes and moves as they are exported, for JSON; counts since the mount.

    ``operations``: of each kind of request how many there were, whatever the result, and how many
    took up to each of ``latency_bounds`` and not up to the one before, in seconds.
    """
    some = _Some(
        metrics.requests,
        metrics.request_seconds,
        metrics.read_bytes,
        metrics.written_bytes,
        metrics.move_copied_bytes,
    )
    sums: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    buckets: defaultdict[str, list[float]] = defaultdict(list)
    for family in _Merged(some, {}, native).collect():
        for sample in family.samples:
            label = next(iter(sample.labels.values()))
            if sample.name == "tierfs_request_seconds_bucket":
                buckets[sample.labels["operation"]].append(sample.value)
            else:
                label = sample.labels.get("operation", label)
                sums[sample.name][label] += sample.value
    return {
        "operations": {
            operation: {
                "requests": int(requests),
                "buckets": [
                    int(upper - lower)
                    for lower, upper in pairwise([0.0, *buckets.get(operation, ())])
                ],
            }
            for operation, requests in sums["tierfs_requests_total"].items()
        },
        "latency_bounds": list(LATENCY_BUCKETS),
        "read_bytes": dict(sums["tierfs_read_bytes_total"]),
        "written_bytes": dict(sums["tierfs_written_bytes_total"]),
        "moved_bytes": sum(sums["tierfs_move_copied_bytes_total"].values()),
        "to_python": None if native is None else native.snapshot().to_python,
    }


def _added(family: str, sample: Sample, more: dict[_Key, float]) -> Sample:
    key = _Key(family, sample.name, tuple(sorted(sample.labels.items())))
    return sample._replace(value=sample.value + more.pop(key, 0.0))


def _samples(native: NativeCounters) -> Iterator[tuple[_Key, float]]:
    counters = native.snapshot()
    for operation, answered in zip(native.answered, counters.answered, strict=True):
        yield from _requests(operation, answered)
        yield from _latency(operation, answered, native.buckets)
    for tier, count in (("flash", counters.flash_bytes), ("disk", counters.disk_bytes)):
        yield _Key("tierfs_read_bytes", "tierfs_read_bytes_total", (("tier", tier),)), count
    yield _Key("tierfs_resent_requests", "tierfs_resent_requests_total", ()), counters.resent
    yield _plain("to_python", "_total"), counters.to_python
    yield _plain("evictions", "_total"), counters.evictions
    yield _plain("prefetched_names", "_total"), counters.prefetched
    yield _plain("inodes"), counters.inodes
    yield _plain("names"), counters.dentries
    yield _plain("bytes"), counters.memory
    yield _plain("known_inodes"), counters.known_inodes


def _requests(operation: str, answered: Answered) -> Iterator[tuple[_Key, float]]:
    results = (
        ("ok", answered.ok),
        ("ENODATA", answered.enodata),
        ("ERANGE", answered.erange),
        ("EINVAL", answered.einval),
    )
    for result, count in results:
        if count:
            labels = (("operation", operation), ("result", result))
            yield _Key("tierfs_requests", "tierfs_requests_total", labels), count


def _latency(
    operation: str, answered: Answered, buckets: Sequence[float]
) -> Iterator[tuple[_Key, float]]:
    """The buckets of a Prometheus histogram are cumulative."""
    family = "tierfs_request_seconds"
    label = ("operation", operation)
    if not any(answered.buckets):
        return
    for bound, count in zip((*buckets, INFINITE), accumulate(answered.buckets), strict=True):
        le = ("le", "+Inf" if bound == INFINITE else repr(bound))
        yield _Key(family, f"{family}_bucket", (le, label)), count
    yield _Key(family, f"{family}_count", (label,)), sum(answered.buckets)
    yield _Key(family, f"{family}_sum", (label,)), answered.seconds


def _plain(name: str, suffix: str = "") -> _Key:
    family = f"tierfs_fast_path_{name}"
    return _Key(family, family + suffix, ())
