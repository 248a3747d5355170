"""Adoption: names for files that exist, without moving their bytes (``tierfs adopt``).

A file on the filesystem of the disk tier becomes a disk object by a hard link, so that its bytes
have two names: its own, and that of the object (``shared.py`` has what that means). A file
elsewhere is copied, by shared blocks where the filesystem can. Order of steps, for some hundred
files at a time:

* ``adopting``: a transaction takes the inode numbers, and notes their range.
* ``linked``: the objects are made. After a crash that has no inode, the next mount removes them:
  an original has its own name still.
* ``committed``: inodes, names, attributes, in one transaction. It may survive a power cut that the
  objects do not: then the next mount forgets the names, and adopting again makes them.
* ``settled``: after some thousand files, and in the end: the disk tier is synced, and the range is
  forgotten. To *take* a tree, the index is synced as well, and then the originals lose their own
  names. So at each moment the bytes of a file have one of the two names durably, or both.

Adopting again goes on where a run has ended: a name that is there with the same original, or as a
copy with the same size and time, is left as it is.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tierfs.common.beneath import DIRECTORY, open_beneath
from tierfs.common.errors import FsError
from tierfs.common.extents import SECTOR
from tierfs.common.times import Clock, nearest
from tierfs.fs import acl
from tierfs.fs.allocation import Allocator
from tierfs.fs.directory import as_directory, as_present
from tierfs.fs.dirty import DirtySet
from tierfs.fs.namespace import DIRECTORY_SIZE
from tierfs.fs.tiers import DISK, Tiers
from tierfs.fs.xattrs import NAMESPACES, VALUE_MAX
from tierfs.metadata.adopted import Original, number_of, original_of
from tierfs.metadata.index import SERIALS_AHEAD, Index
from tierfs.metadata.inodes import ROOT, Inode, make_inode
from tierfs.metadata.pins_and_requests import Request
from tierfs.storage.objects import Arrival

log = logging.getLogger(__name__)

AT_ONCE: Final = SERIALS_AHEAD // 2
"""Files of a transaction: other requests wait that long at most."""

SETTLED_AT_ONCE: Final = 10_000
"""Files after which the disk tier is synced."""

DIRECTORIES_KNOWN: Final = 10_000
ELSEWHERE: Final = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP})
"""Why a file cannot have a further name, and is copied."""

THERE: Final = "the volume has something else there"

OF_THE_SYSTEM: Final = "security.selinux"
"""An attribute that the rules of a filesystem give its files."""


class Step(NamedTuple):
    """Names of a directory that are to be adopted, but for directories in it."""

    path: bytes
    """Of the directory, from the tree on; empty: the tree itself."""
    names: Sequence[bytes]


@dataclass(slots=True)
class Outcome:
    """What became of some steps."""

    linked: int = 0
    """Files that share their bytes with the original."""
    copied: int = 0
    copied_bytes: int = 0
    present: int = 0
    links: int = 0
    """Further names of a file of the tree."""
    others: int = 0
    """Symbolic links, FIFOs, sockets, devices, and empty files."""
    directories: int = 0
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    """Path from the tree on, and why it was left out, or what of it."""


class _Found(NamedTuple):
    """One name of the tree on its way."""

    name: bytes
    ino: int
    status: os.stat_result
    first: int = 0
    """The inode that it is a further name of; 0: none is known."""
    target: bytes | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    copied: bool = False


class _Directory(NamedTuple):
    """A directory of the tree that is being adopted."""

    path: bytes
    """From the tree on."""
    place: bytes
    """With the path of the tree before it."""
    descriptor: int
    ino: int
    """Of what it is in the volume."""
    fresh: bool
    """Whether it was made just now, with nothing in it."""

    def below(self, name: bytes) -> bytes:
        """The path of a name in it, from the tree on."""
        return self.path + b"/" + name if self.path else name


@dataclass(slots=True)
class _Batch:
    """What one transaction is to make."""

    now: int
    rows: dict[int, Inode] = field(default_factory=dict)
    names: list[tuple[bytes, int, int]] = field(default_factory=list)
    originals: list[Original] = field(default_factory=list)
    xattrs: dict[int, tuple[tuple[bytes, bytes], ...]] = field(default_factory=dict)
    copies: list[Inode] = field(default_factory=list)
    first_names: dict[tuple[int, int], int] = field(default_factory=dict)
    """Inodes of files that have further names: by device and number in the tree."""
    has_names: bool = True
    """Whether the directory holds anything already."""


@dataclass(slots=True)
class _Tree:
    """A run: which tree goes where, and how."""

    root: int
    """Descriptor of the tree."""
    target: int
    """Inode number of the directory that its content is put into."""
    take: bool
    heads: bool
    outcome: Outcome
    directories: OrderedDict[bytes, int]
    """Inode numbers of directories by their path from the tree on."""


class Adoption:
    """Adopts trees into one volume; one call at a time.

    Raises from every method:
        FsError: the index failed, or there is no room in it.
        OSError: a call on the tree or a backing directory failed.
    """

    def __init__(
        self, index: Index, tiers: Tiers, dirty: DirtySet, allocator: Allocator, clock: Clock
    ) -> None:
        self._index = index
        self._tiers = tiers
        self._disk = tiers.disk
        self._dirty = dirty
        self._allocator = allocator
        self._clock = clock
        self._working = threading.Lock()
        self._unsettled: list[int] = []
        """The first number of each range that is begun."""
        self._files_unsettled = 0
        self._taken: list[tuple[bytes, bytes, os.stat_result]] = []
        """Originals that lose their own name: directory, name, and what it is."""
        self._known_of = (b"", 0)
        self._known: OrderedDict[bytes, int] = OrderedDict()
        """Directories of the tree that is being adopted; until it is settled."""
        self._further: dict[tuple[int, int, int], int] = {}
        """Inodes of copies that have further names: by target, device and number there."""
        self.added: Callable[[int, Sequence[bytes]], object] = lambda _directory, _names: None
        """Called with a directory and the names added to it, of which the kernel does not know."""

    def run(
        self, tree: bytes, target: bytes, steps: Sequence[Step], *, take: bool, heads: bool
    ) -> Outcome:
        """Adopt the names of ``steps`` of a tree into the directory ``target`` of the volume.

        Directories on the way are made with the attributes that they have in the tree. ``heads``:
        the mover is asked to bring them to flash.

        Raises:
            FsError: ENOENT or ENOTDIR, ``target``.
        """
        with self._working, ExitStack() as stack:
            root = os.open(tree, DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, root)
            top = as_directory(self._inode_at(target)).ino
            if self._known_of != (tree, top):
                self._known_of, self._known = (tree, top), OrderedDict()
            run = _Tree(root, top, take, heads, Outcome(), self._known)
            for path, names in steps:
                with self._at(run, path) as (directory, ino, fresh):
                    if directory < 0:
                        continue
                    place = tree + b"/" + path if path else tree
                    at = _Directory(path, place, directory, ino, fresh)
                    for start in range(0, len(names), AT_ONCE):
                        self._adopt(run, at, names[start : start + AT_ONCE])
            if self._files_unsettled >= SETTLED_AT_ONCE:
                self._settle()
            return run.outcome

    def settle(self) -> None:
        """Let all that was adopted survive a power cut; what is taken loses its own names."""
        with self._working:
            self._settle()
            self._further.clear()
            self._known_of, self._known = (b"", 0), OrderedDict()

    def below(self, target: bytes, after: int) -> list[int]:
        """Adopted inodes in and below a path of the volume, of the next some behind ``after``.

        The last number is where to go on, be it below or not; an empty list: no more follow.

        Raises:
            FsError: ENOENT, there is no such path.
        """
        top = self._inode_at(target).ino
        page = [original.ino for original in self._index.originals.after(after, AT_ONCE)]
        return [ino for ino in page if ino == page[-1] or self._is_below(ino, top)]

    def is_below(self, ino: int, target: bytes) -> bool:
        """Whether an inode is at or below a path of the volume."""
        return self._is_below(ino, self._inode_at(target).ino)

    def recover(self) -> None:
        """After an unclean end: no object without an inode is left, and no inode without it."""
        for first, end in self._index.originals.begun():
            if not self._index.read_only:
                self._recover(first, end)

    # ---------------------------------------------------------------- directories

    def _inode_at(self, path: bytes) -> Inode:
        inode = self._index.inodes.get(ROOT)
        for name in filter(None, path.split(b"/")):
            found = self._index.dentries.find(inode.ino, name)
            if found is None:
                raise FsError(errno.ENOENT)
            inode = found
        return inode

    @contextmanager
    def _at(self, run: _Tree, path: bytes) -> Iterator[tuple[int, int, bool]]:
        """A descriptor of a directory of the tree, its inode in the volume, and if that is new.

        Below 0: it is left out, and why is noted.
        """
        with ExitStack() as stack:
            descriptor, ino, fresh = -1, 0, False
            try:
                opened = open_beneath(os.fsdecode(path) or ".", DIRECTORY, dir_fd=run.root)
                stack.callback(os.close, opened)
                ino, fresh = self._directory(run, path, opened)
                descriptor = opened
            except OSError as exc:
                run.outcome.problems.append((path, exc.strerror or str(exc)))
            except FsError as exc:
                if exc.errno != errno.ENOTDIR:
                    raise
                run.outcome.problems.append((path, THERE))
            yield descriptor, ino, fresh

    def _directory(self, run: _Tree, path: bytes, descriptor: int) -> tuple[int, bool]:
        """The inode of a directory, which is made if need be, and if it was."""
        known = run.directories.get(path)
        if known is not None:
            return known, False
        status = os.fstat(descriptor)
        found, lost = _xattrs_of(descriptor)
        if lost:
            run.outcome.problems.append((path or b".", f"it keeps no {', '.join(lost)}"))
        if not path:
            ino, fresh = run.target, False
            self._give(run, self._index.inodes.get(ino), status, found)
        else:
            above, _, name = path.rpartition(b"/")
            parent = run.directories.get(above)
            if parent is None:
                opened = open_beneath(os.fsdecode(above) or ".", DIRECTORY, dir_fd=run.root)
                try:
                    parent, _ = self._directory(run, above, opened)
                finally:
                    os.close(opened)
            ino, fresh = self._make(run, parent, name, status, found)
        run.outcome.directories += 1
        run.directories[path] = ino
        if len(run.directories) > DIRECTORIES_KNOWN:
            run.directories.popitem(last=False)
        return ino, fresh

    def _make(
        self,
        run: _Tree,
        parent: int,
        name: bytes,
        status: os.stat_result,
        xattrs: tuple[tuple[bytes, bytes], ...],
    ) -> tuple[int, bool]:
        """A directory below another; one that is there gets the attributes."""
        found = self._index.dentries.find(parent, name)
        if found is not None:
            if not stat.S_ISDIR(found.mode):
                raise FsError(errno.ENOTDIR)
            self._give(run, found, status, xattrs)
            return found.ino, False
        with self._index.transaction():
            now = self._clock()
            serial = self._index.new_serial()
            made = self._inode(serial, parent, status, now, links=2, size=DIRECTORY_SIZE)
            self._index.inodes.insert(made)
            self._index.dentries.insert(parent, name, made.ino, made.ino)
            self._put_xattrs(made.ino, xattrs)
            above = self._index.inodes.find_within(parent)
            self._index.inodes.change(above, nlink=above.nlink + 1, ctime=now)
        self.added(parent, [name])
        return made.ino, True

    def _give(
        self,
        run: _Tree,
        inode: Inode,
        status: os.stat_result,
        xattrs: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        """Give a directory that is there owner, mode, times and attributes.

        One from which an earlier run has taken names has a newer time than it was found with.
        """
        mtime = nearest(status.st_mtime_ns)
        with self._index.transaction():
            row = self._index.inodes.find_within(inode.ino)
            self._index.inodes.change(
                row,
                mode=status.st_mode,
                uid=status.st_uid,
                gid=status.st_gid,
                atime=nearest(status.st_atime_ns),
                mtime=min(mtime, row.mtime) if run.take else mtime,
                ctime=self._clock(),
            )
            for name, value in xattrs:
                if self._index.xattrs.find_within(inode.ino, name) != value:
                    self._index.xattrs.put(inode.ino, name, value)

    def _inode(
        self,
        ino: int,
        parent: int,
        status: os.stat_result,
        now: int,
        *,
        links: int = 1,
        size: int = 0,
        target: bytes | None = None,
        on_disk: bool = False,
        adopted: bool = False,
    ) -> Inode:
        """A new row with the attributes of something in the tree."""
        sparse = on_disk and status.st_blocks * SECTOR < size
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
                0 if on_disk else self._allocator.head,
                int(on_disk),  # version
                parent,
                target,
                int(sparse),
                0,  # mirrored
                now,  # btime
                int(adopted),
            )
        )

    def _put_xattrs(self, ino: int, xattrs: tuple[tuple[bytes, bytes], ...]) -> None:
        self._index.xattrs.begin(ino)
        for name, value in xattrs:
            self._index.xattrs.put(ino, name, value)

    # ---------------------------------------------------------------- what is in them

    def _adopt(
        self,
        run: _Tree,
        at: _Directory,
        names: Sequence[bytes],
    ) -> None:
        """Adopt names of one directory, ``AT_ONCE`` at most."""
        wanted = list(self._absent(run, at, names))
        if not wanted:
            return
        with self._index.transaction():
            numbers = [self._index.new_serial() for _ in wanted]
            self._index.originals.begin(numbers[0], numbers[-1] + 1)
        self._tiers.step("adopt.adopting")
        self._unsettled.append(numbers[0])
        self._files_unsettled += len(numbers)
        found: list[_Found] = []
        with self._disk.arrival() as arrival:
            for (name, status), ino in zip(wanted, numbers, strict=True):
                try:
                    found.append(self._bring(run, at, arrival, name, ino, status))
                except FileNotFoundError:
                    continue  # removed meanwhile
                except OSError as exc:
                    if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
                        raise
                    run.outcome.problems.append((at.below(name), exc.strerror or str(exc)))
        self._tiers.step("adopt.linked")
        self._commit(run, at.ino, found)
        self._tiers.step("adopt.committed")
        self.added(at.ino, [each.name for each in found])
        if run.take:
            self._taken += [(at.place, each.name, each.status) for each in found]

    def _absent(
        self, run: _Tree, at: _Directory, names: Sequence[bytes]
    ) -> Iterator[tuple[bytes, os.stat_result]]:
        """Names that the volume has not, with what they are."""
        for name in names:
            try:
                status = os.lstat(name, dir_fd=at.descriptor)
            except FileNotFoundError:
                continue  # removed meanwhile
            there = None if at.fresh else self._index.dentries.find(at.ino, name)
            if there is None:
                yield name, status
            elif self._is_there(there, status):
                run.outcome.present += 1
                self._note_further(run, there, status)
                if run.take:
                    self._taken.append((at.place, name, status))
            else:
                run.outcome.problems.append((at.below(name), THERE))

    def _is_there(self, there: Inode, status: os.stat_result) -> bool:
        """Whether a name of the volume is what an earlier run has made of the same."""
        if stat.S_IFMT(there.mode) != stat.S_IFMT(status.st_mode):
            return False
        if there.adopted:
            known = self._index.originals.get(there.ino)
            return known is not None and known.original == number_of(status)
        if stat.S_ISLNK(there.mode) or not stat.S_ISREG(there.mode):
            return there.rdev == status.st_rdev and there.size == status.st_size
        return (there.size, there.mtime) == (status.st_size, nearest(status.st_mtime_ns))

    def _note_further(self, run: _Tree, row: Inode, status: os.stat_result) -> None:
        """Of an adopted file the index knows the original."""
        if status.st_nlink > 1 and not row.adopted:
            self._further[run.target, status.st_dev, status.st_ino] = row.ino

    def _bring(
        self,
        run: _Tree,
        at: _Directory,
        arrival: Arrival,
        name: bytes,
        ino: int,
        status: os.stat_result,
    ) -> _Found:
        """Make the object of a file, and find out all that belongs to a name."""
        directory = at.descriptor
        first = self._first_name(run, status) if status.st_nlink > 1 else 0
        if first:
            return _Found(name, ino, status, first)
        copied = False
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and status.st_size:
            try:
                status = arrival.link(ino, directory, name)
                if not stat.S_ISREG(status.st_mode):
                    self._disk.remove(ino)
                    raise FileNotFoundError
            except OSError as exc:
                if exc.errno not in ELSEWHERE:
                    raise
                status = self._copy(arrival, directory, name, ino)
                copied = True
                run.outcome.copied_bytes += status.st_blocks * SECTOR
        target = None
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=directory)
        found, lost = _xattrs_of(b"/proc/self/fd/%d/%s" % (directory, name))
        if lost:
            run.outcome.problems.append((at.below(name), f"it keeps no {', '.join(lost)}"))
        return _Found(name, ino, status, 0, target, found, copied)

    def _first_name(self, run: _Tree, status: os.stat_result) -> int:
        """The inode that another name of the tree has made of the same file; 0: none yet."""
        known = self._further.get((run.target, status.st_dev, status.st_ino))
        if known is not None:
            return known
        if status.st_dev != os.fstat(self._disk.directory).st_dev:
            return 0
        for ino in self._index.originals.of(number_of(status)):
            if self._is_below(ino, run.target):
                return ino
        return 0

    def _is_below(self, ino: int, directory: int) -> bool:
        inode = self._index.inodes.find(ino)
        while inode is not None and inode.ino not in {directory, ROOT}:
            inode = self._index.inodes.find(inode.parent)
        return inode is not None and inode.ino == directory

    def _copy(self, arrival: Arrival, directory: int, name: bytes, ino: int) -> os.stat_result:
        """Copy a file into a new object; of one that changes meanwhile, what it was before."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        source = os.open(name, flags, dir_fd=directory)
        try:
            before = os.fstat(source)
            if not stat.S_ISREG(before.st_mode):
                raise FileNotFoundError
            arrival.copy(ino, source, before.st_size)
            after = os.fstat(source)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                self._disk.remove(ino)
                raise OSError(errno.EBUSY, "it changed while it was copied")
            return before
        finally:
            os.close(source)

    def _commit(self, run: _Tree, parent: int, found: list[_Found]) -> None:
        """Inodes and names, in one transaction."""
        batch = _Batch(self._clock())
        try:
            with self._index.transaction():
                above = as_present(as_directory(self._index.inodes.find_within(parent)))
                batch.has_names = not self._index.dentries.is_empty(parent)
                for each in found:
                    self._add(run, batch, parent, each)
                self._store(run, batch, parent)
                self._index.inodes.change(above, ctime=batch.now)
        except BaseException:
            for row in batch.copies:
                self._dirty.files.pop(row.ino, None)
            raise

    def _add(self, run: _Tree, batch: _Batch, parent: int, each: _Found) -> None:
        """Find out what one name is to be; its object goes if it needs none of its own."""
        status = each.status
        key = status.st_dev, status.st_ino
        first = each.first or batch.first_names.get(key, 0)
        if batch.has_names and self._index.dentries.find_within(parent, each.name) is not None:
            run.outcome.problems.append((each.name, THERE))
        elif first:
            batch.names.append((each.name, first, self._index.new_serial()))
            self._link(batch, first)
            run.outcome.links += 1
        else:
            row = self._row(each, parent, batch.now)
            batch.rows[row.ino] = row
            batch.names.append((each.name, row.ino, row.ino))
            if each.xattrs:
                batch.xattrs[row.ino] = each.xattrs
            if row.adopted:
                batch.originals.append(original_of(row.ino, status))
                run.outcome.linked += 1
            elif each.copied:
                batch.copies.append(row)
                run.outcome.copied += 1
            else:
                run.outcome.others += 1
            if status.st_nlink > 1 + row.adopted:
                batch.first_names[key] = row.ino
                self._note_further(run, row, status)
            return
        if not each.first:
            self._disk.remove(each.ino)

    def _link(self, batch: _Batch, ino: int) -> None:
        """One name more of an inode, which may be among those that are about to be made."""
        row = batch.rows.get(ino)
        if row is not None:
            batch.rows[ino] = row._replace(nlink=row.nlink + 1)
            return
        row = self._index.inodes.find_within(ino)
        self._index.inodes.change(row, nlink=row.nlink + 1, ctime=batch.now)

    def _store(self, run: _Tree, batch: _Batch, parent: int) -> None:
        self._index.inodes.insert_all(list(batch.rows.values()))
        self._index.dentries.insert_all(parent, batch.names)
        self._index.originals.put_all(batch.originals)
        for ino, xattrs in batch.xattrs.items():
            self._put_xattrs(ino, xattrs)
        for row in batch.copies:
            file = self._dirty.begin(row)
            file.version, file.names_unsynced[DISK] = row.version, True
        if run.heads:
            for ino, row in batch.rows.items():
                if row.prefix == 0:
                    request = Request(ino, self._allocator.head)
                    self._index.pins_and_requests.request(request)

    def _row(self, each: _Found, parent: int, now: int) -> Inode:
        status, target = each.status, each.target
        if stat.S_ISREG(status.st_mode) and status.st_size:
            adopted = not each.copied
            size = status.st_size
            return self._inode(
                each.ino, parent, status, now, size=size, on_disk=True, adopted=adopted
            )
        size = len(target or b"")
        return self._inode(each.ino, parent, status, now, size=size, target=target)

    # ---------------------------------------------------------------- settling, and crashes

    def _settle(self) -> None:
        firsts, taken = self._unsettled.copy(), self._taken.copy()
        if firsts or taken:
            self._disk.flush()
        if firsts:
            with self._index.transaction():
                self._index.originals.settle(*firsts)
        if taken:
            self._index.sync()
            self._tiers.step("adopt.settled")
            self._unlink(taken)
        del self._unsettled[: len(firsts)]
        del self._taken[: len(taken)]
        self._files_unsettled = 0

    def _unlink(self, taken: list[tuple[bytes, bytes, os.stat_result]]) -> None:
        """Remove the originals' own names; who has no other is the volume's alone then."""
        alone: list[int] = []
        for place, name, status in taken:
            with suppress(OSError):
                directory = os.open(place, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if _is_unchanged(os.lstat(name, dir_fd=directory), status):
                        os.unlink(name, dir_fd=directory)
                finally:
                    os.close(directory)
            inos = self._index.originals.of(number_of(status))
            alone += [ino for ino in inos if self._disk.links(ino) == 1]
        for start in range(0, len(alone), AT_ONCE):
            with self._index.transaction():
                for ino in alone[start : start + AT_ONCE]:
                    self._release(ino)

    def _release(self, ino: int) -> None:
        """Nobody else has a name of its object; unless somebody changed it while he had one."""
        row, known = self._index.inodes.find_within(ino), self._index.originals.get(ino)
        if row.adopted and known and (row.size, known.mtime) == self._disk.length_and_mtime(ino):
            self._index.originals.release(row)

    def _is_gone(self, row: Inode) -> bool:
        """Whether its object did not survive: the original has the bytes."""
        if not stat.S_ISREG(row.mode) or not row.size:
            return False
        if row.adopted:
            return not self._disk.links(row.ino)
        return row.version == 1 and (self._disk.length(row.ino) or 0) < row.size

    def _recover(self, first: int, end: int) -> None:
        gone: set[int] = set()
        for ino in range(first, end):
            row = self._index.inodes.known(ino)
            links = self._disk.links(ino)
            if row is None:
                if links > 1:
                    self._disk.remove(ino)
                elif links:
                    log.info("adopt: object %d moved to %s", ino, self._disk.set_aside(ino))
            elif self._is_gone(row):
                gone.add(ino)
        with self._index.transaction():
            if gone:
                for parent, name, ino in self._index.dentries.between(first, end):
                    if ino in gone:
                        self._index.dentries.delete(parent, name)
                self._index.xattrs.delete_all(*gone)
                self._index.pins_and_requests.forget(*gone)
                self._index.originals.forget(*gone)
                self._index.dirty.delete(*gone)
                self._index.inodes.delete(*gone)
            self._index.originals.settle(first)
        for ino in gone:
            self._disk.remove(ino)


def _is_unchanged(now: os.stat_result, before: os.stat_result) -> bool:
    times = now.st_mtime_ns == before.st_mtime_ns
    return os.path.samestat(now, before) and now.st_size == before.st_size and times


def _xattrs_of(file: int | bytes) -> tuple[tuple[tuple[bytes, bytes], ...], list[str]]:
    """The extended attributes of something in the tree; and the names of those that are not kept.

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
