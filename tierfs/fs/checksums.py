"""Which copies of a file's bytes are right: what a scrub and ``tierfs fsck --data`` go by.

A checksum is XXH3 with 128 bits of the bytes of a *file*, not of an object: it stays right when the
file is migrated. Of each file there may be two, of its first bytes (the *head*, up to its prefix)
and of all. Bytes below the prefix of a mirrored file have two copies, on flash and in the mirror,
and each is compared with the checksum; what is behind the prefix has one, on disk.

`inspect` reads and decides, and changes nothing. A hole is summed as the zeros that it reads as.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple, ParamSpec, TypeVar

from xxhash import xxh3_128

from tierfs.common.errors import Damage
from tierfs.common.extents import Extent
from tierfs.common.units import GIB
from tierfs.fs.migration_plan import Paced
from tierfs.fs.tiers import COPY_CHUNK, DISK, FLASH, load
from tierfs.metadata.checksums import Checksum
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectLost, ObjectStore

P = ParamSpec("P")
T = TypeVar("T")

LARGEST_SPARSE: Final = 256 * GIB
"""Bytes of a sparse file, holes included, beyond which it is not summed: it may be a few blocks and
still take years."""

MOST_ZEROS: Final = 64 * 1024 * 1024
"""Bytes of holes that are summed while a file is copied; of one with more a scrub takes the sum."""

_ZEROS: Final = bytes(COPY_CHUNK)

Stores = Sequence[ObjectStore]
"""The store of flash, and that of disk."""


class Summer:
    """The checksum of bytes that come in order, where what is left out is zeros."""

    def __init__(self) -> None:
        self._state = xxh3_128()
        self.end = 0
        """Bytes summed so far."""

    def add(self, offset: int, data: bytes | memoryview) -> None:
        """Bytes at ``offset``, which is not before ``end``."""
        self.skip_to(offset)
        self._state.update(data)
        self.end += len(data)

    def skip_to(self, offset: int) -> None:
        """Zeros up to there."""
        while (gap := offset - self.end) > 0:
            zeros = _ZEROS if gap >= COPY_CHUNK else _ZEROS[:gap]
            self._state.update(zeros)
            self.end += len(zeros)

    def digest(self) -> bytes:
        """The checksum of the bytes so far: 16 bytes."""
        return self._state.digest()


class Unreadable(Exception):
    """A copy cannot be read; ``at`` is its tier."""

    def __init__(self, at: int, cause: OSError | Damage) -> None:
        super().__init__(str(cause))
        self.at = at
        self.cause = cause


State = Literal["right", "bad-head", "bad-mirror", "lost", "differs", "unreadable", "sparse"]
"""``right``: all copies are. ``bad-head``, ``bad-mirror``: one of two copies is wrong, the other is
right. ``lost``: bytes are wrong and no copy is right. ``differs``: head and mirror differ, and no
checksum says which is right. ``unreadable``: bytes without a second copy cannot be read.
``sparse``: it has too many holes to be summed."""


class Verdict(NamedTuple):
    """What `inspect` found."""

    state: State
    what: str = ""
    """What is wrong, for people."""
    lost: tuple[int, ...] = ()
    """Tiers whose objects have the bytes that are lost."""
    length: int = 0
    """Of what is right: how many bytes ``head`` is of."""
    head: bytes = b""
    whole: bytes = b""
    read: int = 0
    """Bytes read."""


def inspect(stores: Stores, inode: Inode, known: Checksum | None, paced: Paced) -> Verdict:
    """Read every copy of every byte of a file, and compare them with what is ``known``.

    Nobody changes the file meanwhile, or the verdict is worth nothing.

    Raises:
        What ``paced`` raises.
    """
    if inode.sparse and inode.size > LARGEST_SPARSE:
        return Verdict("sparse")
    return _Inspection(stores, inode, known, paced).verdict()


class _Inspection:
    """One look at one file."""

    def __init__(self, stores: Stores, inode: Inode, known: Checksum | None, paced: Paced) -> None:
        self._stores = stores
        self._inode = inode
        self._known = known
        self._paced = paced
        self._below = min(inode.size, inode.prefix)
        self._read = 0
        self._marks = {self._below, inode.size}
        if known is not None:
            self._marks.add(known.length)

    def verdict(self) -> Verdict:
        """See `inspect`."""
        found = self._found()
        return found._replace(read=self._read)

    def _found(self) -> Verdict:
        mirrored = bool(self._inode.mirrored and self._below)
        try:
            read = self._sums(self._inode.prefix, self._inode.size)
        except Unreadable as exc:
            if mirrored and exc.at == FLASH and self._mirror_is_right() in {"", "rest"}:
                return Verdict("bad-head", str(exc))
            return Verdict("unreadable", str(exc))
        wrong = self._wrong(read)
        if wrong:
            mirror = self._mirror_is_right() if mirrored else "missing"
            if mirror in {"", "rest" if wrong == "head" else ""}:
                return Verdict("bad-head", self._what(wrong))
            if mirror == "unreadable":  # perhaps not the next time
                return Verdict("unreadable", f"{self._what(wrong)}, and the mirror cannot be read")
            return Verdict("lost", self._what(wrong), self._where(wrong))
        right = Verdict("right", "", (), self._below, read[self._below], read[self._inode.size])
        return self._with_mirror(right) if mirrored else right

    def _with_mirror(self, right: Verdict) -> Verdict:
        """The bytes on flash are right, as far as is known."""
        try:
            mirror = self._sums(0, self._below)
        except Unreadable as exc:
            return right._replace(state="bad-mirror", what=str(exc))
        if mirror[self._below] == right.head:
            return right
        known = self._known
        if known is None or (known.length < self._below and known.whole is None):
            what = "head and mirror differ, and no checksum tells which of them is right"
            return right._replace(state="differs", what=what)
        return right._replace(state="bad-mirror", what="the mirror differs from its checksum")

    def _wrong(self, found: dict[int, bytes]) -> Literal["", "head", "rest"]:
        """Which checksum the bytes do not have."""
        known = self._known
        if known is None:
            return ""
        if found[known.length] != known.head:
            return "head"
        return "rest" if known.whole is not None and found[self._inode.size] != known.whole else ""

    def _mirror_is_right(self) -> Literal["", "head", "rest", "missing", "unreadable"]:
        """What is wrong with the file where all of it is read from disk."""
        try:
            return self._wrong(self._sums(0, self._inode.size))
        except Unreadable as exc:
            return "missing" if isinstance(exc.cause, Damage) else "unreadable"

    def _what(self, wrong: str) -> str:
        known, size = self._known, self._inode.size
        length = known.length if known is not None else 0
        start, end = (0, length) if wrong == "head" else (0 if length >= size else length, size)
        return f"bytes {start} to {end} differ from their checksum"

    def _where(self, wrong: str) -> tuple[int, ...]:
        """The tiers that may have the wrong bytes; what is right is not taken along if possible."""
        known, below = self._known, self._below
        length = known.length if known is not None else 0
        start, end = (0, length) if wrong == "head" else (length, self._inode.size)
        return tuple(
            at for at, is_touched in ((FLASH, start < below), (DISK, end > below)) if is_touched
        )

    def _sums(self, prefix: int, end: int) -> dict[int, bytes]:
        """Sums of the first bytes of the file, split at ``prefix``: up to each mark, and ``end``.

        Raises:
            Unreadable: an object is missing, too short, or cannot be read.
        """
        summer, sums = Summer(), {0: Summer().digest()}
        bounds = sorted({0, min(prefix, end), end, *(mark for mark in self._marks if mark < end)})
        for at, used in ((FLASH, prefix > 0 < end), (DISK, prefix < end)):
            if used:
                self._call(at, self._forget, at)
        for start, bound in pairwise(bounds):
            at = FLASH if start < prefix else DISK
            for piece, stop in self._pieces(at, start, bound):
                for offset in range(piece, stop, COPY_CHUNK):
                    chunk = Extent(offset, min(COPY_CHUNK, stop - offset))
                    self._paced(chunk.length)
                    summer.add(offset, self._call(at, self._load, at, chunk))
                    self._read += chunk.length
            summer.skip_to(bound)
            sums[bound] = summer.digest()
        return sums

    def _pieces(self, at: int, start: int, end: int) -> list[tuple[int, int]]:
        """Where there is data in an object; a whole range where the file has no hole."""
        if not self._inode.sparse:
            return [(start, end)]
        store, ino = self._stores[at], self._inode.ino
        if (length := self._call(at, store.length, ino) or 0) < end:
            where = f"its {store.name} object ends at byte {length}"
            raise Unreadable(at, Damage(ino, f"{where}, before byte {end}"))
        return self._call(at, store.pieces, ino, start, end)

    def _forget(self, at: int) -> None:
        """Let the device be read, not what the kernel remembers of it."""
        store, ino = self._stores[at], self._inode.ino
        try:
            store.forget(ino)
        except (FileNotFoundError, ObjectLost):
            raise Damage(ino, f"its {store.name} object is missing") from None

    def _load(self, at: int, extent: Extent) -> bytes:
        return load(self._stores[at], self._inode.ino, extent, keep=False)

    @staticmethod
    def _call(at: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (Damage, OSError) as exc:
            raise Unreadable(at, exc) from exc
