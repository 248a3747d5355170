"""Who is at the other end of a connection, and acting as that user in one thread.

The kernel checks what a thread may open by its own credentials (credentials(7)): a user's are
taken on by the thread that looks paths up, for that time, and by no other.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

_CREDENTIALS: Final = struct.Struct("iII")
"""The ``struct ucred`` of SO_PEERCRED, unix(7): process, user, group."""

_SO_PEERGROUPS: Final = 59
_MOST_GROUPS: Final = 65_536
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_KEEP: Final = ctypes.c_uint32(-1)
"""setfsuid(2) changes nothing for an ID that is none, and returns the present one."""

# glibc's setgroups(3) is for all threads. The numbers are those of scripts/syscall.tbl of Linux.
_SETGROUPS: Final = {"x86_64": 116, "ppc64le": 81, "s390x": 206}.get(platform.machine(), 159)


class Peer(NamedTuple):
    """A process that has connected, as it was then."""

    pid: int
    """0: it is in a PID namespace of its own."""
    uid: int
    gid: int
    groups: tuple[int, ...]


def peer_of(connection: socket.socket) -> Peer:
    """The process that connected.

    Raises:
        OSError: the kernel does not say.
    """
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(found)
    # Python's own call takes a kilobyte at most.
    groups = (ctypes.c_uint32 * _MOST_GROUPS)()
    length = ctypes.c_uint32(ctypes.sizeof(groups))
    if _LIBC.getsockopt(
        connection.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, groups, ctypes.byref(length)
    ):
        raise _error()
    return Peer(pid, uid, gid, tuple(groups[: length.value // ctypes.sizeof(ctypes.c_uint32)]))


@contextmanager
def acting_as(peer: Peer) -> Iterator[None]:
    """Let this thread open only what ``peer`` may; for a thread of root that does little else.

    Raises:
        OSError: the kernel refuses.
    """
    own = os.getgroups()
    try:
        _become(peer.uid, peer.gid, peer.groups)
        yield
    finally:
        _become(os.geteuid(), os.getegid(), own)


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    numbers = (ctypes.c_uint32 * len(groups))(*groups)
    if _LIBC.syscall(_SETGROUPS, ctypes.c_long(len(groups)), numbers):
        raise _error()
    for what, set_one, wanted in (
        ("group", _LIBC.setfsgid, gid),
        ("user", _LIBC.setfsuid, uid),
    ):
        set_one(ctypes.c_uint32(wanted))
        if ctypes.c_uint32(set_one(_KEEP)).value != wanted:
            raise PermissionError(f"the {what} with ID {wanted} cannot be taken on")


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
