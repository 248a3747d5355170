"""What every request goes through: metrics, errors to errno, and a guard for our own bugs.

pyfuse3 ends its loop, and so the mount, on any exception but FUSEError. Here an unexpected one
becomes EIO for that one request, with a logged traceback and a metric.
"""

from __future__ import annotations

import errno
import functools
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import pyfuse3
import trio

from tierfs.common.errors import TierfsError, errno_of
from tierfs.common.metrics import Metrics
from tierfs.fs.dirty import Unreconciled
from tierfs.fs.filesystem import FileSystem

log = logging.getLogger(__name__)

TOLD_TO_CALLERS = frozenset({errno.EFBIG, errno.ENOSPC, errno.EDQUOT})
"""Errors of a backing directory that callers are told of, request by request; one line each in
the log would only fill another disk."""

P = ParamSpec("P")
T = TypeVar("T")


class Measured(Protocol):
    """A set of handlers with metrics, of a filesystem."""

    fs: FileSystem
    metrics: Metrics


S = TypeVar("S", bound=Measured)
Handler = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def request(handler: Handler[S, P, T]) -> Handler[S, P, T]:
    """Make a handler of ``handler``: any exception leaves it as pyfuse3.FUSEError."""
    operation = handler.__name__

    @functools.wraps(handler)
    async def handle(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        started = time.perf_counter()
        result = "ok"
        try:
            while True:
                try:
                    return await handler(self, *args, **kwargs)
                except Unreconciled as exc:
                    await trio.to_thread.run_sync(self.fs.dirty.reconcile, exc.ino)
        except Exception as exc:  # noqa: BLE001 - one bug must not end the mount
            number = _errno_of(exc, operation, self.metrics)
            result = errno.errorcode.get(number, str(number))
            raise pyfuse3.FUSEError(number) from None
        finally:
            seconds = time.perf_counter() - started
            self.metrics.requests.labels(operation, result).inc()
            self.metrics.request_seconds.labels(operation).observe(seconds)

    return cast("Handler[S, P, T]", handle)


def error_number(exc: Exception, operation: str, metrics: Metrics, seconds: float) -> int:
    """The errno of a request that failed outside of pyfuse3, which is counted and logged alike."""
    number = _errno_of(exc, operation, metrics)
    metrics.requests.labels(operation, errno.errorcode.get(number, str(number))).inc()
    metrics.request_seconds.labels(operation).observe(seconds)
    return number


def _errno_of(exc: Exception, operation: str, metrics: Metrics) -> int:
    if isinstance(exc, pyfuse3.FUSEError):
        return exc.errno
    if isinstance(exc, OSError) and exc.errno not in TOLD_TO_CALLERS:
        log.error("%s failed on a backing directory: %s", operation, exc)
    elif not isinstance(exc, OSError | TierfsError):
        metrics.handler_failures.inc()
        log.error("%s failed unexpectedly; the request got EIO", operation, exc_info=exc)
    return errno_of(exc)
