"""Making calls: what they return or which errno they give, also as another user; ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable
from typing import Any

CHILD_SECONDS = 20
"""A child that takes longer is killed, and its case fails."""

PR_SET_KEEPCAPS = 8
CAPABILITY_VERSION_3 = 0x20080522


def attempt(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """What the call returns, or the name of its errno, such as "ENOENT"."""
    try:
        return function(*args, **kwargs)
    except OSError as exc:
        if exc.errno is None:
            raise
        return errno_name(exc.errno)


def errno_name(code: int) -> str:
    """The errno's name; ENOTSUP and EOPNOTSUPP are one number and have the second name here."""
    return "EOPNOTSUPP" if code == errno.EOPNOTSUPP else errno.errorcode.get(code, f"errno {code}")


class Libc:
    """The C library: `libc.renameat2(...)` makes the call; -1 raises OSError.

    Arguments are C ints unless they are ctypes values: pass offsets as `ctypes.c_long(n)`.
    Strings are bytes. The result is a C int; with `long`, a C long (ssize_t, off_t).
    """

    def __init__(self) -> None:
        self.raw = ctypes.CDLL(None, use_errno=True)

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *args: self._call(name, ctypes.c_int, args)

    def long(self, name: str, *args: object) -> int:
        """Make a call whose result is a C long."""
        return self._call(name, ctypes.c_long, args)

    def _call(self, name: str, restype: type[Any], args: tuple[Any, ...]) -> int:
        function = self.raw[name]  # a new object every time, unlike an attribute
        function.restype = restype
        result = int(function(*args))
        if result == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), name)
        return result


libc = Libc()


def in_child(function: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
    """The result of the call made in a forked child, or its errno's name.

    The result must be picklable. Any exception but OSError is raised here as AssertionError.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of threads; the only one is the watchdog, whose locks the child never takes.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _report(writing, function, args)
    os.close(writing)
    try:
        outcome = _received(reading)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert outcome, "the child died or took too long"
    kind, value = pickle.loads(outcome)  # noqa: S301
    assert kind == "result", value
    return value


def as_user(
    uid: int,
    gid: int,
    groups: Collection[int],
    function: Callable[..., Any],
    *args: Any,  # noqa: ANN401
    capabilities: Iterable[int] = (),
) -> Any:  # noqa: ANN401
    """`in_child` with these credentials and, in the effective set, these capabilities only.

    Root (uid 0) keeps all its capabilities when none is named.
    """

    def changed() -> Any:  # noqa: ANN401
        become(uid, gid, groups, capabilities)
        return attempt(function, *args)

    return in_child(changed)


def become(uid: int, gid: int, groups: Collection[int], capabilities: Iterable[int] = ()) -> None:
    """Give this process the credentials, for good; for children only."""
    wanted = sum(1 << number for number in capabilities)
    if wanted:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups(list(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if wanted:
        set_capabilities(wanted)


def set_capabilities(mask: int) -> None:
    """Make the bits of `mask` the effective and permitted capabilities of this process."""
    halves = [mask & 0xFFFFFFFF, mask >> 32]
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(*(word for half in halves for word in (half, half, 0)))
    libc.capset(header, data)


def _report(writing: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Run the call in the child and end it, whatever happens."""
    try:
        try:
            outcome = pickle.dumps(("result", attempt(function, *args)))
        except BaseException:  # noqa: BLE001
            outcome = pickle.dumps(("failed", traceback.format_exc()))
        with open(writing, "wb") as pipe:
            pipe.write(outcome)
    finally:
        os._exit(0)


def _received(reading: int) -> bytes:
    """All that the child writes; nothing when it takes too long."""
    chunks: list[bytes] = []
    while select.select([reading], [], [], CHILD_SECONDS)[0]:
        chunk = os.read(reading, 65536)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
    return b""
