"""Files of a tree that get inodes in one transaction: their objects, and then their rows.

First each file gets the name of an object (``bring``), of which only its inode number is taken so
far. Then all rows are stored (``commit``). ``adoption.py`` says what a crash leaves in between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tierfs.common.extents import SECTOR
from tierfs.common.times import LIMIT, Clock, nearest
from tierfs.common.tree_report import Report
from tierfs.fs import acl
from tierfs.fs.allocation import Allocator
from tierfs.fs.directory import as_directory, as_present
from tierfs.fs.dirty import DirtySet
from tierfs.fs.tiers import DISK
from tierfs.fs.xattrs import NAMESPACES, VALUE_MAX
from tierfs.metadata.adopted import Original, make_original, number_of, original_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT, Inode, make_inode
from tierfs.metadata.pins_and_requests import Request
from tierfs.storage.directories import Arrival
from tierfs.storage.objects import ObjectStore

ELSEWHERE: Final = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP})
"""Why a file cannot have a further name, and is copied."""

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""After these every other file would fail as well."""

THERE: Final = "the volume has something else there"

OF_THE_SYSTEM: Final = "security.selinux"
"""An attribute that the rules of a filesystem give its files."""

USUAL_LINKS: Final = 2
"""Names of a file that has the one in the tree and that of the object."""

FILE_TYPE: Final = 0o170000

Pairs = tuple[tuple[bytes, bytes], ...]


class Directory(NamedTuple):
    """A directory of the tree, and what in it is to be adopted."""

    path: bytes
    """From the tree on."""
    place: bytes
    """With the path of the tree before it."""
    descriptor: int
    ino: int
    """Of what it is in the volume."""
    files: Sequence[bytes]
    others: Sequence[tuple[bytes, os.stat_result]]
    """What is no regular file."""

    def below(self, name: bytes) -> bytes:
        """The path of a name in it, from the tree on."""
        return self.path + b"/" + name if self.path else name

    @property
    def names(self) -> Iterator[bytes]:
        """All that is to be adopted."""
        yield from self.files
        for name, _ in self.others:
            yield name


@dataclass(slots=True)
class Run:
    """Which tree goes where, and how."""

    target: int
    """Inode number of the directory that its content is put into."""
    take: bool
    heads: bool
    further: dict[tuple[int, int, int], int]
    """Inodes of files that have further names and are not adopted: by target, device and number in
    the tree."""
    report: Report = field(default_factory=Report)


class Batch:
    """Some files; an instance is for one transaction.

    Raises from every method:
        FsError: the index failed, or there is no room in it.
        OSError: a call on the tree or a backing directory failed.
    """

    def __init__(
        self,
        run: Run,
        index: Index,
        disk: ObjectStore,
        dirty: DirtySet,
        allocator: Allocator,
        clock: Clock,
    ) -> None:
        self._run = run
        self._index = index
        self._disk = disk
        self._device = os.fstat(disk.directory).st_dev
        self._dirty = dirty
        self._head = allocator.head
        self._now = clock()
        self._usual: dict[int, tuple[int, ...]] = {}
        """Rows of files of which only `ADOPTED_COLUMNS` differ."""
        self._rows: dict[int, Inode] = {}
        """All others."""
        self._names: list[tuple[int, bytes, int, int]] = []
        """Directory, name, inode and cookie: another number than the inode's for further names."""
        self._originals: dict[int, Original] = {}
        self._xattrs: dict[int, Pairs] = {}
        self._first_names: dict[tuple[int, int], int] = {}
        """Inodes of files that have further names: by device and number in the tree."""
        self._further: set[int] = set()
        """Inodes that got a further name here."""
        self._copied: list[int] = []
        self._cookies: list[tuple[int, range]] = []
        """Of the names in each directory."""
        self.taken: list[tuple[bytes, bytes, os.stat_result]] = []
        """Of a tree that is taken: directory and name of all in the batch, and what it is."""

    # ---------------------------------------------------------------- objects

    def bring(self, directories: Iterable[Directory], numbers: range) -> None:
        """Make the objects, and find out all that belongs to the names, each with its number.

        After a failure none is left.
        """
        number = numbers.start
        try:
            with self._disk.arrival() as arrival:
                for at in directories:
                    end = number + len(at.files) + len(at.others)
                    self._cookies.append((at.ino, range(number, end)))
                    self._link_all(arrival, at, number)
                    number += len(at.files)
                    for name, status in at.others:
                        try:
                            self._other(at, name, number, status)
                        except OSError as exc:
                            self._note_failure(at, name, exc)
                        number += 1
        except Exception:
            with self._disk.removal() as remove:
                for ino in numbers:
                    remove(ino)
            raise

    def _note_failure(self, at: Directory, name: bytes, exc: OSError) -> None:
        if exc.errno in NO_ROOM:
            raise exc
        if exc.errno != errno.ENOENT:  # else it was removed meanwhile
            self._run.report.fail(at.below(name), exc.strerror or str(exc))

    def _link_all(self, arrival: Arrival, at: Directory, first: int) -> None:
        """Give the files of a directory names of objects; what is usual about one is done here."""
        parent, taken = at.ino, self.taken if self._run.take else None
        rows, names, originals = self._usual, self._names, self._originals
        for ino, name, found in arrival.link(first, at.descriptor, at.files):
            if not isinstance(found, tuple):
                self._link_failed(arrival, at, name, ino, found)
                continue
            status, xattrs = found
            mode, number, _, links, uid, gid, size, *_ = status
            atime, mtime, ctime = status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns
            is_usual = links == USUAL_LINKS and size and mode & FILE_TYPE == stat.S_IFREG
            if not (is_usual and 0 < mtime < LIMIT > atime > 0):
                self._link_unusual(at, name, ino, status)
                continue
            sparse = int(status.st_blocks * SECTOR < size)
            rows[ino] = (ino, size, mode, uid, gid, atime, mtime, parent, sparse)
            names.append((parent, name, ino, ino))
            originals[ino] = make_original((ino, number, size, mtime, ctime))
            if xattrs:
                self._keep_xattrs(at, name, ino)
            if taken is not None:
                taken.append((at.place, name, status))

    def _link_failed(
        self, arrival: Arrival, at: Directory, name: bytes, ino: int, exc: OSError
    ) -> None:
        try:
            if exc.errno not in ELSEWHERE:
                raise exc
            self._copy(arrival, at, name, ino)
        except OSError as failed:
            self._note_failure(at, name, failed)

    def _link_unusual(self, at: Directory, name: bytes, ino: int, status: os.stat_result) -> None:
        """What was linked is empty, has further names or strange times, or is no file by now."""
        is_file = stat.S_ISREG(status.st_mode)
        first = self._first_name(status) if status.st_nlink > USUAL_LINKS else 0
        if first or not is_file or not status.st_size:
            self._disk.remove(ino)
        try:
            if first:
                self._add_name(at, name, first, ino, os.lstat(name, dir_fd=at.descriptor))
            elif is_file and status.st_size:
                if status.st_nlink > USUAL_LINKS:
                    self._first_names[status.st_dev, status.st_ino] = ino
                self._originals[ino] = original_of(ino, status)
                self._add(at, name, ino, status, size=status.st_size, adopted=1)
            elif is_file:
                self._other(at, name, ino, os.lstat(name, dir_fd=at.descriptor))
        except OSError as exc:
            self._note_failure(at, name, exc)

    def _copy(self, arrival: Arrival, at: Directory, name: bytes, ino: int) -> None:
        """Copy a file into a new object; of one that changes meanwhile, what it was before."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        source = os.open(name, flags, dir_fd=at.descriptor)
        try:
            before = os.fstat(source)
            first = self._first_name(before) if before.st_nlink > 1 else 0
            if first or not before.st_size or not stat.S_ISREG(before.st_mode):
                self._other(at, name, ino, before)
                return
            arrival.copy(ino, source, before.st_size)
            after = os.fstat(source)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                self._disk.remove(ino)
                raise OSError(errno.EBUSY, "it changed while it was copied")
        finally:
            os.close(source)
        self._copied.append(ino)
        self._run.report.copied_bytes += before.st_blocks * SECTOR
        self._keep_first_name(before, ino)
        self._add(at, name, ino, before, size=before.st_size)

    def _other(self, at: Directory, name: bytes, ino: int, status: os.stat_result) -> None:
        """What has no object: a link, FIFO, socket, device, empty file, or a further name."""
        if status.st_nlink > 1:
            if first := self._first_name(status):
                self._add_name(at, name, first, ino, status)
                return
            self._keep_first_name(status, ino)
        target = None
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=at.descriptor)
        self._add(at, name, ino, status, size=len(target or b""), target=target)

    def _keep_first_name(self, status: os.stat_result, ino: int) -> None:
        if status.st_nlink > 1:
            self._first_names[status.st_dev, status.st_ino] = ino
            self._run.further[self._run.target, status.st_dev, status.st_ino] = ino

    def _first_name(self, status: os.stat_result) -> int:
        """The inode that another name of the tree has made of the same file; 0: none yet."""
        key = status.st_dev, status.st_ino
        known = self._first_names.get(key) or self._run.further.get((self._run.target, *key))
        if known is not None:
            return known
        if status.st_dev == self._device:
            for ino in self._index.originals.of(number_of(status)):
                if is_below(self._index, ino, self._run.target):
                    return ino
        return 0

    # ---------------------------------------------------------------- rows

    def _add_name(
        self, at: Directory, name: bytes, first: int, cookie: int, status: os.stat_result
    ) -> None:
        """Add a further name of a file, whose ctime an object that came and went has changed."""
        self._names.append((at.ino, name, first, cookie))
        self._further.add(first)
        if self._run.take:
            self.taken.append((at.place, name, status))
        known = self._originals.get(first) or self._index.originals.get(first)
        if known and known.is_unchanged(status):
            self._originals[first] = original_of(first, status)

    def _add(
        self,
        at: Directory,
        name: bytes,
        ino: int,
        status: os.stat_result,
        *,
        size: int,
        target: bytes | None = None,
        adopted: int = 0,
    ) -> None:
        on_disk = size > 0 and target is None
        self._rows[ino] = new_inode(
            ino,
            at.ino,
            status,
            self._now,
            size=size,
            head=self._head,
            on_disk=on_disk,
            target=target,
            adopted=adopted,
        )
        self._names.append((at.ino, name, ino, ino))
        if self._run.take:
            self.taken.append((at.place, name, status))
        self._keep_xattrs(at, name, ino)

    def _keep_xattrs(self, at: Directory, name: bytes, ino: int) -> None:
        found, lost = xattrs_of(b"/proc/self/fd/%d/%s" % (at.descriptor, name))
        if found:
            self._xattrs[ino] = found
        if lost:
            self._run.report.fail(at.below(name), f"it keeps no {', '.join(lost)}")

    def commit(self) -> None:
        """Store everything in one transaction."""
        try:
            with self._index.transaction():
                self._drop_taken()
                self._store()
        except BaseException:
            for ino in self._copied:
                self._dirty.files.pop(ino, None)
            raise
        self._count()

    def _drop_taken(self) -> None:
        """Leave out names that somebody has made meanwhile, and objects that have no other."""
        dropped: set[tuple[int, bytes]] = set()
        for parent in {parent for parent, _, _, _ in self._names}:
            directory = as_present(as_directory(self._index.inodes.find_within(parent)))
            if not self._index.dentries.is_empty(parent):
                names = [name for above, name, _, _ in self._names if above == parent]
                for name in self._index.dentries.taken(parent, names):
                    dropped.add((parent, name))
                    self._run.report.fail(name, THERE)
            self._index.inodes.change(directory, ctime=self._now)
        if not dropped:
            return
        self._names = [each for each in self._names if each[:2] not in dropped]
        for ino in (self._rows.keys() | self._usual.keys()) - {ino for _, _, ino, _ in self._names}:
            self._disk.remove(ino)
            self._rows.pop(ino, None)
            self._usual.pop(ino, None)
            self._originals.pop(ino, None)
            self._xattrs.pop(ino, None)

    def _store(self) -> None:
        if self._further:
            self._count_names()
        self._index.inodes.insert_all(list(self._rows.values()))
        self._index.inodes.insert_adopted(list(self._usual.values()), self._now)
        self._names.sort()
        with self._index.feed.adopting(self._cookies):
            self._index.dentries.insert_all(self._names)
            self._index.originals.put_all(list(self._originals.values()))
        for ino, xattrs in self._xattrs.items():
            put_xattrs(self._index, ino, xattrs)
        for ino in self._copied:
            if row := self._rows.get(ino):
                file = self._dirty.begin(row)
                file.version, file.names_unsynced[DISK] = row.version, True
        if self._run.heads:
            on_disk = [row.ino for row in self._rows.values() if row.prefix == 0]
            for ino in (*self._usual, *on_disk):
                self._index.pins_and_requests.request(Request(ino, self._head))

    def _count_names(self) -> None:
        """Of inodes with several names in the batch, or with one here and others before."""
        numbers = Counter(ino for _, _, ino, _ in self._names)
        for ino in self._further & numbers.keys():
            if row := self._rows.get(ino):
                self._rows[ino] = row._replace(nlink=numbers[ino])
                continue
            row = self._index.inodes.find_within(ino)
            self._index.inodes.change(row, nlink=row.nlink + numbers[ino], ctime=self._now)
            if known := self._originals.pop(ino, None):
                self._index.originals.put(known)

    def _count(self) -> None:
        linked, made = len(self._originals), len(self._rows) + len(self._usual)
        copied = sum(ino in self._rows for ino in self._copied)
        self._run.report.count(
            linked=linked,
            copied=copied,
            others=made - linked - copied,
            links=len(self._names) - made,
        )


def new_inode(  # noqa: PLR0913 - the columns that differ
    ino: int,
    parent: int,
    status: os.stat_result,
    now: int,
    *,
    size: int,
    links: int = 1,
    head: int = 0,
    on_disk: bool = False,
    target: bytes | None = None,
    adopted: int = 0,
) -> Inode:
    """A new row with the attributes of something in the tree; ``head``: the P of what is short."""
    return make_inode(
        (
            ino,
            status.st_mode,
            status.st_uid,
            status.st_gid,
            links,
            size,
            status.st_rdev,
            nearest(status.st_atime_ns),
            nearest(status.st_mtime_ns),
            now,  # ctime
            0 if on_disk else head,
            int(on_disk),  # version
            parent,
            target,
            int(on_disk and status.st_blocks * SECTOR < size),  # sparse
            0,  # mirrored
            now,  # btime
            adopted,
        )
    )


def is_below(index: Index, ino: int, directory: int) -> bool:
    """Whether an inode is in or below a directory."""
    inode = index.inodes.find(ino)
    while inode is not None and inode.ino not in {directory, ROOT}:
        inode = index.inodes.find(inode.parent)
    return inode is not None and inode.ino == directory


def put_xattrs(index: Index, ino: int, xattrs: Pairs) -> None:
    """Store the extended attributes of a new inode; inside a transaction."""
    index.xattrs.begin(ino)
    for name, value in xattrs:
        index.xattrs.put(ino, name, value)


def xattrs_of(file: int | str | bytes) -> tuple[Pairs, list[str]]:
    """The extended attributes of something in the tree; and the names of those not kept.

    Either by descriptor, or by a path whose last part is not followed.
    """
    follow = isinstance(file, int)
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            return (), []
        raise
    found, lost = [], []
    for name in names:
        raw = os.fsencode(name)
        if name == OF_THE_SYSTEM:
            continue
        if not (raw.startswith(NAMESPACES) or raw in acl.NAMES):
            lost.append(name)
            continue
        with suppress(OSError):
            value = os.getxattr(file, name, follow_symlinks=follow)
            if len(value) > VALUE_MAX:
                lost.append(name)
            else:
                found.append((raw, value))
    return tuple(found), lost
