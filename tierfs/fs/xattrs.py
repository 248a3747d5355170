"""Extended attributes: those that are stored, ACLs among them, and the virtual ones of tierfs.

Virtual attributes show where a file's bytes are, and what a user requested by hand. They are
not stored as attributes and never listed, so that no copy of the file has them. A pin of a
directory pins every file in and below it, also later ones. Who may change the file's mode may set
``tierfs.pin`` and ``tierfs.prefix``: its owner, and CAP_FOWNER (inode_owner_or_capable,
fs/inode.c). That changes neither the file's bytes nor what is stored with it, so its times stay: a
backup must not take it for changed.
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
    show_checksum,
    show_fact,
    show_pin,
    show_pinned_by,
    show_prefix,
)
from tierfs.common.times import LIMIT, Clock
from tierfs.fs import acl
from tierfs.fs.permissions import PRIVILEGED, Caller, set_by
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.metadata.pins_and_requests import Pin, Request

VALUE_MAX = 65536
"""Bytes of a value (XATTR_SIZE_MAX, limits.h)."""

COMPARED = 2048
"""Bytes of the largest value that is compared with the one it replaces: ext4 compares none that it
has put into an inode of its own (ext4_xattr_value_same)."""

TRUSTED = b"trusted."
NAMESPACES = (b"user.", TRUSTED, b"security.")
XATTR_CREATE = 1
XATTR_REPLACE = 2

VIRTUAL = b"tierfs."
PIN, PINNED_BY, PREFIX, REQUESTED, MIRRORED, ADOPTED, WAITS, CHECKSUM = (
    name.encode()
    for name in (
        tierfs_xattrs.PIN,
        tierfs_xattrs.PINNED_BY,
        tierfs_xattrs.PREFIX,
        tierfs_xattrs.REQUESTED,
        tierfs_xattrs.MIRRORED,
        tierfs_xattrs.ADOPTED,
        tierfs_xattrs.WAITS,
        tierfs_xattrs.CHECKSUM,
    )
)
FACT = tierfs_xattrs.FACT.encode()
WRITABLE = frozenset({PIN, PREFIX})


class ExtendedAttributes:
    """Attributes by inode number and full name (xattr(7)).

    Raises from every method:
        FsError: ENODATA no such attribute, EOPNOTSUPP no such namespace, EINVAL nothing behind
            it, ESTALE no such inode.
    """

    def __init__(self, index: Index, volume: uuid.UUID, head: int, clock: Clock) -> None:
        self._index = index
        self.virtual = VirtualAttributes(index, volume, head, clock)
        self._clock = clock
        self._touch = index.inodes.changer("ctime", with_a_name=True)

    def get(self, ino: int, name: bytes, caller: Caller = PRIVILEGED) -> bytes:
        """The value (getxattr(2)).

        Raises:
            FsError: EACCES a header fact, and the file's mode does not let the caller read it.
        """
        _check_known(name)
        if name.startswith(FACT) and not _may_read(self._index.inodes.get(ino), caller):
            raise FsError(errno.EACCES)
        value = self._find(ino, name)
        if value is None:
            raise FsError(errno.ENODATA)
        return value

    def names(self, ino: int, caller: Caller = PRIVILEGED) -> list[bytes]:
        """The names stored (listxattr(2)); ``trusted.`` is for those who administer."""
        names = self._index.xattrs.names(ino)
        public = [name for name in names if not name.startswith(TRUSTED)]
        return names if len(public) == len(names) or caller.administers() else public

    def set(
        self,
        ino: int,
        name: bytes,
        value: bytes,
        flags: int = 0,
        *,
        caller: Caller = PRIVILEGED,
    ) -> None:
        """Set a value; ``flags``: 0, XATTR_CREATE (or EEXIST), XATTR_REPLACE (or ENODATA).

        Raises:
            FsError: E2BIG too long; of a virtual attribute see ``VirtualAttributes.set``.
        """
        _check_known(name)
        if len(value) > VALUE_MAX:
            raise FsError(errno.E2BIG)
        with self._index.transaction():
            inode = self._index.inodes.find_within(ino)
            self._check_flags(ino, name, flags)
            if name.startswith(VIRTUAL):
                self.virtual.set(ino, name, value, caller)
            elif name in acl.NAMES:
                self._set_acl(inode, name, value, caller)
            elif self._store(ino, name, value):
                self._touch(inode, self._clock())

    def remove(self, ino: int, name: bytes, *, caller: Caller = PRIVILEGED) -> None:
        """Remove a value (removexattr(2)).

        Raises:
            FsError: of a virtual attribute see ``VirtualAttributes.set``.
        """
        _check_known(name)
        with self._index.transaction():
            inode = self._index.inodes.find_within(ino)
            if name.startswith(VIRTUAL):
                removed = self.virtual.remove(ino, name, caller)
            elif removed := self._index.xattrs.delete(ino, name):
                self._touch(inode, self._clock())
        if not removed and name not in acl.NAMES:
            raise FsError(errno.ENODATA)

    def _find(self, ino: int, name: bytes) -> bytes | None:
        if name.startswith(VIRTUAL):
            return self.virtual.find(ino, name)
        return self._index.xattrs.find(ino, name)

    def _check_flags(self, ino: int, name: bytes, flags: int) -> None:
        if flags:
            exists = self._find(ino, name) is not None
            if flags & XATTR_CREATE and exists:
                raise FsError(errno.EEXIST)
            if flags & XATTR_REPLACE and not exists:
                raise FsError(errno.ENODATA)

    def _set_acl(self, inode: Inode, name: bytes, value: bytes, caller: Caller) -> None:
        """Store an access control list; an access list also sets the mode."""
        entries = acl.parse(value)
        if name == acl.DEFAULT and not stat.S_ISDIR(inode.mode):
            raise FsError(errno.EACCES)
        mode = inode.mode
        if name == acl.ACCESS:
            mode = set_by(acl.mode_of(entries, mode), inode.gid, caller)
        said_by_mode = name == acl.ACCESS and acl.is_minimal(entries)
        if self._store(inode.ino, name, None if said_by_mode else value) or mode != inode.mode:
            self._index.inodes.change(inode, mode=mode, ctime=self._clock())

    def _store(self, ino: int, name: bytes, value: bytes | None) -> bool:
        """Store or, if None, delete; False when nothing changed: then ctime stays, as on ext4."""
        small = value is None or len(value) <= COMPARED
        if small and self._index.xattrs.find_within(ino, name) == value:
            return False
        if value is None:
            return self._index.xattrs.delete(ino, name)
        self._index.xattrs.put(ino, name, value)
        return True


_PREFIXES = (*NAMESPACES, VIRTUAL)


def _check_known(name: bytes) -> None:
    if name in NAMESPACES:
        raise FsError(errno.EINVAL)
    if not name.startswith(_PREFIXES) and name not in acl.NAMES:
        raise FsError(errno.EOPNOTSUPP)


def _may_read(inode: Inode, caller: Caller) -> bool:
    """Whether the file's mode lets the caller read its bytes, of which a fact may be a part."""
    mode = inode.mode
    return bool(
        mode & stat.S_IROTH
        or caller.owns(inode.uid)
        or (mode & stat.S_IRGRP and caller.in_group(inode.gid))
    )


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
    ADOPTED: lambda inode: tierfs_xattrs.YES if inode.adopted else tierfs_xattrs.NO,
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
            pin = self._pin_above(inode)
            if pin is None:
                return None
            directory = self._index.inodes.get(pin.ino)
            return show_pinned_by(pin.until, self._index.path_of(directory))
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
        if name == CHECKSUM:
            known = self._index.checksums.find(inode.ino, inode.version)
            return known and known.whole and show_checksum(known.whole)
        if name.startswith(FACT):
            return self._fact(inode, name)
        value_of = OF_FILES.get(name)
        return value_of and value_of(inode)

    def _fact(self, inode: Inode, name: bytes) -> bytes | None:
        key = name.removeprefix(FACT).decode("ascii", "replace")
        fact = self._index.header_facts.find(inode.ino, inode.version, key)
        return None if fact is None else show_fact(fact)

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
