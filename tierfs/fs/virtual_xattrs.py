"""Virtual extended attributes: where a file's bytes are, and what somebody asked for by hand.

They are not stored as attributes and never listed, so that no copy carries them along.
A pin of a directory is of every file in and below it, now and later.
``tierfs.pin`` and ``tierfs.prefix`` can be set by who may change the file's mode: its owner, and
CAP_FOWNER (inode_owner_or_capable, fs/inode.c). That changes neither the file's bytes nor
what is stored with it, so its times stay: a backup must not take it for changed.
"""

from __future__ import annotations

import errno
import stat
import uuid
from collections.abc import Callable, Mapping

from tierfs.common import tierfs_xattrs
from tierfs.common.errors import FsError
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.tierfs_xattrs import (
    parse_pin,
    parse_prefix,
    show_pin,
    show_pinned_by,
    show_prefix,
)
from tierfs.common.times import LIMIT, Clock
from tierfs.fs.callers import Caller
from tierfs.fs.paths import path_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.metadata.pins_and_requests import Pin, Request

VIRTUAL = b"tierfs."
PIN, PINNED_BY, PREFIX, REQUESTED, MIRRORED, WAITS = (
    name.encode()
    for name in (
        tierfs_xattrs.PIN,
        tierfs_xattrs.PINNED_BY,
        tierfs_xattrs.PREFIX,
        tierfs_xattrs.REQUESTED,
        tierfs_xattrs.MIRRORED,
        tierfs_xattrs.WAITS,
    )
)
WRITABLE = frozenset({PIN, PREFIX})


def _location(inode: Inode) -> bytes:
    if inode.prefix == 0:
        return b"disk"
    return b"flash" if inode.size <= inode.prefix else b"split"


def _is_on_disk(inode: Inode) -> bytes:
    on_flash = min(inode.size, inode.prefix)
    return tierfs_xattrs.YES if inode.mirrored or not on_flash else tierfs_xattrs.NO


OF_FILES: Mapping[bytes, Callable[[Inode], bytes]] = {
    PREFIX: lambda inode: show_prefix(inode.prefix),
    b"tierfs.location": _location,
    MIRRORED: _is_on_disk,
}
"""What the row of a regular file says."""


class VirtualAttributes:
    """By inode number and full name, ``tierfs.`` and something.

    Raises from every method:
        FsError: ESTALE no such inode.
    """

    def __init__(self, index: Index, volume: uuid.UUID, head: int, clock: Clock) -> None:
        self._index = index
        self._volume = str(volume).encode()
        self._head = b"%d" % head
        self._clock = clock
        self.waits: Callable[[int], bytes | None] = lambda _: None
        """Why a file is not where it belongs, by inode number; the mover of files tells."""
        self.requested: Callable[[int], None] = lambda _: None
        """Is called where something is asked for by hand: it does not wait for what failed."""

    def find(self, ino: int, name: bytes) -> bytes | None:
        """The value, or None where there is none."""
        if name == b"tierfs.volume":
            return self._volume if ino == ROOT else None
        if name == b"tierfs.head":
            return self._head
        inode = self._index.inodes.get(ino)
        if name == b"tierfs.inode":
            return b"%d" % ino
        if name == PIN:
            pin = self._pin_of(ino)
            return pin and show_pin(pin.until)
        if name == PINNED_BY:
            return self._pinned_by(inode)
        return self._of_file(inode, name) if stat.S_ISREG(inode.mode) else None

    def set(self, ino: int, name: bytes, value: bytes, caller: Caller) -> None:
        """Note a pin or a request, inside a transaction.

        Raises:
            FsError: EPERM this is not for the caller, or can only be read; EOPNOTSUPP it is no
                regular file, and for a pin no directory; EINVAL the value means nothing; EBUSY the
                file is pinned, and could not keep less than all on flash.
        """
        inode = self._require_right(ino, name, caller)
        try:
            if name == PIN:
                self._pin(inode, parse_pin(value))
            else:
                self._request(inode, parse_prefix(value))
            self.requested(ino)
        except ValueError as exc:
            raise FsError(errno.EINVAL, str(exc)) from exc

    def remove(self, ino: int, name: bytes, caller: Caller) -> bool:
        """Withdraw a pin, inside a transaction; False: there was none.

        Raises:
            FsError: as for ``set``.
        """
        self._require_right(ino, name, caller)
        if name != PIN:
            raise FsError(errno.EPERM)
        held = self._pin_of(ino) is not None
        self._index.pins_and_requests.unpin(ino)
        return held

    def _require_right(self, ino: int, name: bytes, caller: Caller) -> Inode:
        if name not in WRITABLE:
            raise FsError(errno.EPERM)
        inode = self._index.inodes.get(ino)
        if not (stat.S_ISREG(inode.mode) or (name == PIN and stat.S_ISDIR(inode.mode))):
            raise FsError(errno.EOPNOTSUPP)
        if not caller.owns(inode.uid):
            raise FsError(errno.EPERM)
        return inode

    def _of_file(self, inode: Inode, name: bytes) -> bytes | None:
        if name == REQUESTED:
            request = self._index.pins_and_requests.request_of(inode.ino)
            if request is None or request.prefix == inode.prefix:
                return None  # reached; the mover takes it back soon
            return show_prefix(request.prefix)
        if name == WAITS:
            return self.waits(inode.ino)
        value_of = OF_FILES.get(name)
        return value_of and value_of(inode)

    def _pin_of(self, ino: int) -> Pin | None:
        """The file's pin, unless it has ended."""
        pin = self._index.pins_and_requests.pin_of(ino)
        return pin if pin is not None and pin.holds(self._clock()) else None

    def _pin_above(self, inode: Inode) -> Pin | None:
        """The pin of the nearest directory above that has one."""
        if not self._index.pins_and_requests.pins_directories():
            return None
        at: Inode | None = inode
        while at is not None and at.ino != ROOT:
            pin = self._pin_of(at.parent)
            if pin is not None:
                return pin
            at = self._index.inodes.find(at.parent)  # None: it was removed with this below it
        return None

    def _pinned_by(self, inode: Inode) -> bytes | None:
        pin = self._pin_above(inode)
        if pin is None:
            return None
        directory = path_of(self._index, self._index.inodes.get(pin.ino))
        return show_pinned_by(pin.until, directory)

    def _pin(self, inode: Inode, length: int | None) -> None:
        """A pinned file comes to flash whole: what was asked for before counts no longer."""
        until = None if length is None else min(self._clock() + length, LIMIT - 1)
        self._index.pins_and_requests.pin(Pin(inode.ino, until, int(stat.S_ISDIR(inode.mode))))
        if request := self._index.pins_and_requests.request_of(inode.ino):
            self._index.pins_and_requests.settle(request)

    def _request(self, inode: Inode, prefix: int) -> None:
        """Also for the P that the file has: a move to another one may be under way."""
        if prefix != WHOLE_FILE and (self._pin_of(inode.ino) or self._pin_above(inode)):
            raise FsError(errno.EBUSY)
        self._index.pins_and_requests.request(Request(inode.ino, prefix))
