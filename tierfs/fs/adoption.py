"""Adoption: names for files that exist, without moving their bytes (``tierfs adopt``).

A file on the filesystem of the disk tier becomes a disk object by a hard link, so that its bytes
have two names: its own, and that of the object (``shared.py`` has what that means). A file
elsewhere is copied, by shared blocks where the filesystem can. Order of steps, for up to
1,024 files at a time:

* ``adopting``: a transaction takes the inode numbers, and notes their range.
* ``linked``: the objects are made. After a crash that has no inode, the next mount removes them:
  an original has its own name still.
* ``committed``: inodes, names, attributes, in one transaction. It may survive a power cut that the
  objects do not: then the next mount forgets the names, and adopting again makes them.
* ``settled``: after 50,000 files, and in the end: the disk tier is synced, and the range is
  forgotten. To *take* a tree, the index is synced as well, and then the originals lose their own
  names. So at each moment the bytes of a file have one of the two names durably, or both.

Adopting again continues where a run has ended: a name that is there with the same original, or as a
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
from contextlib import ExitStack, suppress
from typing import Final

from tierfs.common.beneath import DIRECTORY, open_beneath
from tierfs.common.errors import FsError
from tierfs.common.times import Clock, nearest
from tierfs.common.tree_report import Report, Step
from tierfs.fs.adoption_batch import (
    THERE,
    Batch,
    Directory,
    Pairs,
    Run,
    is_below,
    new_inode,
    put_xattrs,
    xattrs_of,
)
from tierfs.fs.allocation import Allocator
from tierfs.fs.directory import as_directory, as_present
from tierfs.fs.dirty import DirtySet
from tierfs.fs.tiers import Tiers
from tierfs.metadata.adopted import number_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import DIRECTORY_SIZE, ROOT, Inode

log = logging.getLogger(__name__)

AT_ONCE: Final = 1024
"""Files of a transaction: other requests wait that long at most."""

DIRECTORIES_AT_ONCE: Final = 64
"""That are open at a time."""

SETTLED_AT_ONCE: Final = 50_000
"""Files after which the disk tier is synced."""

DIRECTORIES_KNOWN: Final = 10_000


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
        self._root = -1
        """Descriptor of the tree that is being adopted."""
        self._known_of = (b"", 0)
        self._known: OrderedDict[bytes, int] = OrderedDict()
        """Directories of the tree that is being adopted; until it is settled."""
        self._further: dict[tuple[int, int, int], int] = {}
        """Inodes of copies that have further names: by target, device and number there."""
        self.added: Callable[[int, Sequence[bytes]], object] = lambda _directory, _names: None
        """Called with a directory and the names added to it, of which the kernel does not know."""

    def run(
        self, tree: bytes, target: bytes, steps: Sequence[Step], *, take: bool, heads: bool
    ) -> Report:
        """Adopt the names of ``steps`` of a tree into the directory ``target`` of the volume.

        Directories on the way are made with the attributes that they have in the tree. ``heads``:
        the mover is asked to bring them to flash.

        Raises:
            FsError: ENOENT or ENOTDIR, ``target``.
        """
        with self._working, ExitStack() as stack:
            self._root = os.open(tree, DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, self._root)
            top = as_directory(self._inode_at(target)).ino
            if self._known_of != (tree, top):
                self._known_of, self._known = (tree, top), OrderedDict()
            run = Run(top, take, heads, self._further)
            for part in _in_parts(steps):
                with ExitStack() as opened:
                    self._adopt(run, self._absent(run, self._enter(run, tree, part, opened)))
            if self._files_unsettled >= SETTLED_AT_ONCE:
                self._settle()
            return run.report

    def settle(self) -> None:
        """Let all that was adopted survive a power cut; what is taken loses its own names."""
        with self._working:
            self._settle()
            self._further.clear()
            self._known_of, self._known = (b"", 0), OrderedDict()

    def below(self, target: bytes, after: int) -> list[int]:
        """Adopted inodes in and below a path of the volume, of the next some behind ``after``.

        The last number is where to continue, be it below or not; an empty list: no more follow.

        Raises:
            FsError: ENOENT, there is no such path.
        """
        top = self._inode_at(target).ino
        page = [original.ino for original in self._index.originals.after(after, AT_ONCE)]
        return [ino for ino in page if ino == page[-1] or is_below(self._index, ino, top)]

    def is_below(self, ino: int, target: bytes) -> bool:
        """Whether an inode is at or below a path of the volume."""
        return is_below(self._index, ino, self._inode_at(target).ino)

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

    def _enter(
        self, run: Run, tree: bytes, steps: Sequence[Step], opened: ExitStack
    ) -> list[tuple[Directory, bool]]:
        """Open directories of the tree, make them in the volume; with whether they are new there.

        What cannot be is left out, and why is noted.
        """
        found: list[tuple[Directory, bool]] = []
        made: list[tuple[int, bytes]] = []
        try:
            with self._index.transaction():
                for path, files, others in steps:
                    try:
                        descriptor = open_beneath(
                            os.fsdecode(path) or ".", DIRECTORY, dir_fd=self._root
                        )
                        opened.callback(os.close, descriptor)
                        ino, fresh = self._directory(run, path, descriptor, made)
                        statuses = list(_statuses(descriptor, others))
                    except OSError as exc:
                        run.report.fail(path, exc.strerror or str(exc))
                        continue
                    except FsError as exc:
                        if exc.errno != errno.ENOTDIR:
                            raise
                        run.report.fail(path, THERE)
                        continue
                    place = tree + b"/" + path if path else tree
                    found.append((Directory(path, place, descriptor, ino, files, statuses), fresh))
        except BaseException:
            self._known.clear()
            raise
        for parent, name in made:
            self.added(parent, [name])
        return found

    def _directory(
        self, run: Run, path: bytes, descriptor: int, made: list[tuple[int, bytes]]
    ) -> tuple[int, bool]:
        """The inode of a directory, which is made if need be, and if it was; in a transaction."""
        known = self._known.get(path)
        if known is not None:
            return known, False
        status = os.fstat(descriptor)
        found, lost = xattrs_of(descriptor)
        if lost:
            run.report.fail(path or b".", f"it keeps no {', '.join(lost)}")
        if not path:
            ino, fresh = run.target, False
            self._give(run, ino, status, found)
        else:
            above, _, name = path.rpartition(b"/")
            parent = self._known.get(above)
            if parent is None:
                opened = open_beneath(os.fsdecode(above) or ".", DIRECTORY, dir_fd=self._root)
                try:
                    parent, _ = self._directory(run, above, opened, made)
                finally:
                    os.close(opened)
            ino, fresh = self._make(run, parent, name, status, found)
            if fresh:
                made.append((parent, name))
        run.report.directories += 1
        self._known[path] = ino
        if len(self._known) > DIRECTORIES_KNOWN:
            self._known.popitem(last=False)
        return ino, fresh

    def _make(
        self, run: Run, parent: int, name: bytes, status: os.stat_result, xattrs: Pairs
    ) -> tuple[int, bool]:
        """A directory below another; one that is there gets the attributes."""
        found = self._index.dentries.find_within(parent, name)
        if found is not None:
            as_directory(found)
            self._give(run, found.ino, status, xattrs)
            return found.ino, False
        now, serial = self._clock(), self._index.new_serial()
        made = new_inode(serial, parent, status, now, size=DIRECTORY_SIZE, links=2)
        self._index.inodes.insert(made)
        self._index.dentries.insert(parent, name, serial, serial)
        put_xattrs(self._index, serial, xattrs)
        above = as_present(self._index.inodes.find_within(parent))
        self._index.inodes.change(above, nlink=above.nlink + 1, ctime=now)
        return serial, True

    def _give(self, run: Run, ino: int, status: os.stat_result, xattrs: Pairs) -> None:
        """Give a directory that is there owner, mode, times and attributes.

        One from which an earlier run has taken names has a newer time than it was found with.
        """
        mtime = nearest(status.st_mtime_ns)
        row = self._index.inodes.find_within(ino)
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
            if self._index.xattrs.find_within(ino, name) != value:
                self._index.xattrs.put(ino, name, value)

    # ---------------------------------------------------------------- what is in them

    def _absent(self, run: Run, entered: list[tuple[Directory, bool]]) -> list[Directory]:
        """The directories with those of their names that the volume has not."""
        found: list[Directory] = []
        for at, fresh in entered:
            names = [*at.files, *(name for name, _ in at.others)]
            there = set() if fresh else self._index.dentries.taken(at.ino, names)
            for name in there:
                self._note_present(run, at, name)
            files, others = at.files, at.others
            if there:
                files = [name for name in files if name not in there]
                others = [each for each in others if each[0] not in there]
            found.append(at._replace(files=files, others=others))
        return found

    def _note_present(self, run: Run, at: Directory, name: bytes) -> None:
        """A name that the volume has: of an earlier run, or of somebody else."""
        there = self._index.dentries.find(at.ino, name)
        try:
            status = os.lstat(name, dir_fd=at.descriptor)
        except FileNotFoundError:
            return  # removed meanwhile
        if there is None or not self._is_there(there, status):
            run.report.fail(at.below(name), THERE)
            return
        run.report.present += 1
        if status.st_nlink > 1 and not there.adopted:
            self._further[run.target, status.st_dev, status.st_ino] = there.ino
        if run.take:
            self._taken.append((at.place, name, status))

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

    def _adopt(self, run: Run, directories: list[Directory]) -> None:
        """Adopt names that the volume has not, in one transaction."""
        number = sum(len(at.files) + len(at.others) for at in directories)
        if not number:
            return
        self._index.reserve_serials(number)
        with self._index.transaction():
            numbers = self._index.new_serials(number)
            self._index.originals.begin(numbers.start, numbers.stop)
        self._tiers.step("adopt.adopting")
        batch = Batch(run, self._index, self._disk, self._dirty, self._allocator, self._clock)
        batch.bring(directories, numbers)
        self._tiers.step("adopt.linked")
        batch.commit()
        self._tiers.step("adopt.committed")
        self._unsettled.append(numbers.start)
        self._files_unsettled += number
        self._taken += batch.taken
        for at in directories:
            self.added(at.ino, [*at.files, *(name for name, _ in at.others)])

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


def _in_parts(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps in lists of what one transaction makes."""
    part: list[Step] = []
    number = 0
    for step in (piece for whole in steps for piece in _pieces(whole)):
        size = len(step.files) + len(step.others)
        if part and (number + size > AT_ONCE or len(part) == DIRECTORIES_AT_ONCE):
            yield part
            part, number = [], 0
        part.append(step)
        number += size
    if part:
        yield part


def _pieces(step: Step) -> Iterator[Step]:
    path, files, others = step
    half = AT_ONCE // 2
    for at in range(0, max(len(files), len(others), 1), half):
        yield Step(path, files[at : at + half], others[at : at + half])


def _statuses(directory: int, names: Sequence[bytes]) -> Iterator[tuple[bytes, os.stat_result]]:
    for name in names:
        with suppress(FileNotFoundError):  # removed meanwhile
            yield name, os.lstat(name, dir_fd=directory)
