"""What is known of one inode number, and what is wrong with it; reads nothing but the index.

A `Case` gathers what every table and both object directories have of the number. Its faults are of
three sorts: attributes that no inode can have (`row_faults`), names and link counts that do not
agree (`link_faults`), objects that are not as long as the inode needs (`object_faults`).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from tierfs.common.extents import MAX_FILE_SIZE, WHOLE_FILE, Lengths, object_lengths
from tierfs.fsck import kinds
from tierfs.fsck.kinds import Kind
from tierfs.metadata.checksums import Checksum
from tierfs.metadata.inodes import DIRECTORY_SIZE, ROOT, Inode
from tierfs.metadata.integrity import IntegrityCheck, Location, Names
from tierfs.policy.volume_file import HEAD_STEP


class Fault(NamedTuple):
    """What is wrong with one inode, and how; ``remedy`` as in `tierfs.fsck.check.Finding`."""

    kind: Kind
    what: str
    remedy: int = 0


Stream = Iterator[tuple[int, Any]]
"""Inode numbers, ascending, none twice, and what is known of each."""

_END = 2**63
"""Behind every inode number."""


class Case(NamedTuple):
    """What one table or directory has of the number; None, 0 or False: nothing."""

    ino: int
    inode: Inode | None
    names: Names | None
    children: int
    subdirectories: tuple[int, int]
    """Of these names, those of directories and those of nothing that is there."""
    reached: bool
    xattrs: int
    pin: bool
    request: bool
    pending_truncation: bool
    checksum: Checksum | None
    adopted: bool
    dirty: int | None
    """Of a dirty file: bytes that are synced."""
    flash: int | None
    disk: int | None

    @property
    def is_directory(self) -> bool:
        """Whether the inode is there and a directory."""
        return self.inode is not None and stat.S_ISDIR(self.inode.mode)

    @property
    def is_mirrored(self) -> bool:
        """Whether the inode is there and says that it has a mirror."""
        return self.inode is not None and self.inode.mirrored > 0

    @property
    def is_file(self) -> bool:
        """Whether the inode is there and a regular file, with or without a name."""
        return self.inode is not None and stat.S_ISREG(self.inode.mode)

    @property
    def known(self) -> Checksum | None:
        """The checksums, where they hold: of no dirty file, and for the present data version."""
        found, inode = self.checksum, self.inode
        holds = found and inode and found.version == inode.version and self.dirty is None
        return found if holds else None

    @property
    def is_root(self) -> bool:
        """Whether it is the number of the root."""
        return self.ino == ROOT

    @property
    def name_count(self) -> int:
        """How many dentries refer to it."""
        return self.names.total if self.names else 0


def cases(index: IntegrityCheck) -> Iterator[Case]:
    """A case for every inode number that is anywhere; a few rows of each table in memory."""
    streams: list[tuple[Stream, Any]] = [
        (index.inodes(), None),
        (index.names(), None),
        (index.children(), 0),
        (index.subdirectories(), (0, 0)),
        (index.reached(), False),
        (index.xattrs(), 0),
        (index.listed("pin"), False),
        (index.listed("request"), False),
        (index.listed("cut"), False),
        (index.checksums(), None),
        (index.listed("adopted"), False),
        (index.dirty(), None),
        (index.objects("flash"), None),
        (index.objects("disk"), None),
    ]
    for ino, parts in merged([stream for stream, _ in streams], [none for _, none in streams]):
        yield Case(ino, *parts)


def merged(streams: Sequence[Stream], absent: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Every number in any stream, and what each stream has of it, or its ``absent``."""
    heads = [next(stream, (_END, None)) for stream in streams]
    numbers = [number for number, _ in heads]
    while (ino := min(numbers)) < _END:
        parts = list(absent)
        for place, number in enumerate(numbers):
            if number == ino:
                parts[place] = heads[place][1]
                heads[place] = head = next(streams[place], (_END, None))
                numbers[place] = head[0]
        yield ino, parts


# ------------------------------------------------------------------ paths


REMEMBERED = 4096
"""Paths of directories kept."""

NOWHERE = b"(unreachable)"


class Paths:
    """Paths from the root of the volume, as bytes."""

    def __init__(self, index: IntegrityCheck) -> None:
        self._index = index
        self._directory = lru_cache(REMEMBERED)(self._find)

    def of(self, ino: int, names: Names | None) -> bytes:
        """A path of an inode; empty when it has no name."""
        if ino == ROOT:
            return b"/"
        return b"" if names is None else self.at(Location(names.parent, names.name))

    def at(self, location: Location) -> bytes:
        """The path of a dentry."""
        return self._directory(location.parent) + b"/" + location.name

    def loop(self, directory: int) -> frozenset[int]:
        """The directories of the loop that the way up from this one ends in, if it does."""
        steps, again = self._way_up(directory)
        numbers = [ino for ino, _ in steps]
        return frozenset(numbers[numbers.index(again) :]) if again in numbers else frozenset()

    def _find(self, directory: int) -> bytes:
        steps, end = self._way_up(directory)
        names = [step.name for _, step in reversed(steps)]
        top = b"" if end == ROOT else NOWHERE
        return b"/".join([top, *names])

    def _way_up(self, directory: int) -> tuple[list[tuple[int, Location]], int]:
        """Each directory with its name, upwards; and the one at which there is no going on."""
        steps: dict[int, Location] = {}
        while directory not in steps and directory != ROOT:
            step = self._index.location_of(directory)
            if step is None:
                break
            steps[directory] = step
            directory = step.parent
        return list(steps.items()), directory


# ------------------------------------------------------------------ rows


TYPES = frozenset(
    {
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFIFO,
        stat.S_IFSOCK,
        stat.S_IFBLK,
        stat.S_IFCHR,
    }
)
DEVICES = frozenset({stat.S_IFBLK, stat.S_IFCHR})
MODE_BITS = 0o177777
LARGEST_ID = 2**32 - 1
FLAGS = frozenset({0, 1})


def row_faults(case: Case) -> Iterator[Fault]:
    """Attributes that no inode can have, and rows of other tables without an inode."""
    if case.inode is not None:
        yield from (Fault(kinds.ROW, what) for what in _impossible(case.inode))
        return
    if case.is_root:
        yield Fault(kinds.ROOT, "it has no row")
    stray = {
        "xattr": case.xattrs,
        "pin": case.pin,
        "request": case.request,
        "cut": case.pending_truncation,
        "checksum": case.checksum is not None,
        "adopted": case.adopted,
        "dirty": case.dirty is not None,
    }
    for table, number in stray.items():
        if number:
            yield Fault(kinds.STRAY_ROW, f"{number:d} rows in {table}", case.ino)


def _impossible(inode: Inode) -> Iterator[str]:
    """Each as ``size -5``."""
    kind = stat.S_IFMT(inode.mode)
    if kind not in TYPES or inode.mode & ~MODE_BITS:
        yield f"mode {inode.mode:#o}"
    if not (0 <= inode.uid <= LARGEST_ID and 0 <= inode.gid <= LARGEST_ID):
        yield f"owner {inode.uid}:{inode.gid}"
    if inode.nlink < 0:
        yield f"link count {inode.nlink}"
    if inode.version < 0:
        yield f"data version {inode.version}"
    if inode.rdev and kind not in DEVICES:
        yield f"device number {inode.rdev}"
    yield from _size_faults(inode, kind)
    yield from _placement_faults(inode, kind)


def _size_faults(inode: Inode, kind: int) -> Iterator[str]:
    if not 0 <= inode.size <= MAX_FILE_SIZE:
        yield f"size {inode.size}"
    elif kind == stat.S_IFDIR and inode.size != DIRECTORY_SIZE:
        yield f"size {inode.size} of a directory"
    elif kind == stat.S_IFLNK and inode.size != len(inode.target or b""):
        yield f"size {inode.size} of a symbolic link of {len(inode.target or b'')} bytes"
    if (inode.target is None) == (kind == stat.S_IFLNK):
        yield "no target" if kind == stat.S_IFLNK else "the target of a symbolic link"


def _placement_faults(inode: Inode, kind: int) -> Iterator[str]:
    if inode.prefix < 0 or (inode.prefix % HEAD_STEP and inode.prefix != WHOLE_FILE):
        yield f"prefix {inode.prefix}"
    if inode.sparse not in FLAGS or (inode.sparse and (kind != stat.S_IFREG or not inode.size)):
        yield f"sparse {inode.sparse}"
    # Of no bytes at all everything is true; else a mirrored file has bytes on flash.
    may_be_mirrored = kind == stat.S_IFREG and (inode.prefix > 0 or not inode.size)
    if inode.mirrored not in FLAGS or (inode.mirrored and not may_be_mirrored):
        yield f"mirrored {inode.mirrored}, prefix {inode.prefix}"
    # The original is the whole file: with a head on flash, it is the mirror.
    may_be_adopted = kind == stat.S_IFREG and (inode.prefix == 0 or inode.mirrored)
    if inode.adopted not in FLAGS or (inode.adopted and not may_be_adopted):
        yield f"adopted {inode.adopted}, prefix {inode.prefix}, mirrored {inode.mirrored}"


# ------------------------------------------------------------------ names and link counts


ANY_COUNT = (-_END, _END)
"""Of links: nothing is wanted."""


def link_faults(case: Case, paths: Paths) -> Iterator[Fault]:
    """What is wrong with the names of the inode, and with those in it."""
    yield from _children_faults(case)
    if case.inode is None:
        if case.name_count and not case.is_root:
            # Where something is left, the name tells where the bytes, or the names, belong.
            nothing_left = case.flash is None and case.disk is None and not case.children
            what = f"no row, and {case.name_count} names"
            yield Fault(kinds.DANGLING, what, int(nothing_left))
        return
    if case.is_root:
        yield from _root_faults(case)
    elif not case.name_count and case.inode.nlink:
        yield Fault(kinds.UNNAMED, f"link count {case.inode.nlink}, and no name", case.ino)
    elif case.is_directory:
        yield from _directory_faults(case, paths)
    low, high = _wanted_links(case)
    if not low <= case.inode.nlink <= high:
        what = f"link count {case.inode.nlink}, and it must be {low}"
        yield Fault(kinds.LINKS, what, low)


def _children_faults(case: Case) -> Iterator[Fault]:
    if not case.children or (case.is_root and case.inode is None):
        return
    links = 2 + case.subdirectories[0]
    if case.inode is None:
        yield Fault(kinds.HOMELESS, f"{case.children} names in it, and no row", links)
    elif not case.is_directory:
        yield Fault(kinds.HOMELESS, f"{case.children} names in it, and it is not a directory")
    elif not case.inode.nlink and not case.name_count:
        yield Fault(kinds.HOMELESS, f"{case.children} names in it, and it is removed", links)


def _root_faults(case: Case) -> Iterator[Fault]:
    if not case.is_directory:
        yield Fault(kinds.ROOT, "it is not a directory")
    elif case.inode and case.inode.parent != ROOT:
        yield Fault(kinds.ROOT, f"its parent is inode {case.inode.parent}")
    if case.name_count:
        yield Fault(kinds.ROOT, f"{case.name_count} names refer to it")


def _directory_faults(case: Case, paths: Paths) -> Iterator[Fault]:
    if case.inode is None or case.names is None:
        return
    if case.names.total > 1:
        yield Fault(kinds.NAMES, f"{case.names.total} names")
    elif case.names.parent != case.inode.parent:
        row, dentry = case.inode.parent, case.names.parent
        what = f"its row says it is in inode {row}, its name is in inode {dentry}"
        yield Fault(kinds.PARENT, what, dentry)
    if not case.reached and min(loop := paths.loop(case.ino), default=0) == case.ino:
        yield Fault(kinds.CYCLE, f"{len(loop)} directories are inside one another")


def _wanted_links(case: Case) -> tuple[int, int]:
    """The least and the highest link count: of a directory 2 and its directories.

    One of these may have lost its row. Without a name any count is right.
    """
    if not case.is_directory:
        return (case.name_count, case.name_count) if case.name_count else ANY_COUNT
    if case.inode and not (case.inode.nlink or case.name_count or case.is_root):
        return ANY_COUNT
    directories, dangling = case.subdirectories
    return 2 + directories, 2 + directories + dangling


# ------------------------------------------------------------------ objects


def object_faults(case: Case) -> Iterator[Fault]:
    """What is wrong with the objects of the number."""
    inode = case.inode
    if inode is None or not case.is_file:
        for tier, length in (("flash", case.flash), ("disk", case.disk)):
            if length is not None:
                nobodys = inode is None and not case.name_count
                what = f"a {tier} object of {length} bytes"
                yield Fault(kinds.UNOWNED_OBJECT, what, int(nobodys))
    elif inode.nlink and min(inode.size, inode.prefix) >= 0:
        if inode.adopted and case.disk is not None:  # its length is its owner's affair
            case = case._replace(disk=inode.size)
        if case.dirty is not None:
            # The next mount takes its size from its objects; less than what was synced is a loss.
            inode = inode._replace(size=min(case.dirty, inode.size), mirrored=0)
        yield from _losses(inode, case)
        if case.known is not None and case.known.lost:
            yield Fault(kinds.WRONG_BYTES, "as a scrub found; they were moved to lost+found")
        if not case.pending_truncation and case.dirty is None:
            yield from _leftovers(inode, case)


def _losses(inode: Inode, case: Case) -> Iterator[Fault]:
    flash, disk = object_lengths(inode.size, inode.prefix)
    mirror_is_whole = inode.mirrored and (case.disk or 0) >= inode.size
    if (case.flash or 0) < flash:
        if mirror_is_whole:
            yield Fault(kinds.HEAD_LOST, _length("flash", case.flash, flash), case.ino)
        else:
            yield _loss("flash", case.flash, flash)
    if (case.disk or 0) < disk:
        yield _loss("disk", case.disk, disk)
    elif inode.mirrored and not mirror_is_whole and (case.flash or 0) >= flash:
        yield Fault(kinds.STALE_MIRROR, _length("disk", case.disk, inode.size), case.ino)


def _loss(tier: str, found: int | None, needed: int) -> Fault:
    kind = kinds.MISSING_OBJECT if found is None else kinds.SHORT_OBJECT
    return Fault(kind, _length(tier, found, needed))


def _length(tier: str, found: int | None, needed: int) -> str:
    if found is None:
        return f"its {tier} object of {needed} bytes is missing"
    return f"its {tier} object has {found} of {needed} bytes"


def _leftovers(inode: Inode, case: Case) -> Iterator[Fault]:
    # A mirrored file is on disk whole.
    lengths = object_lengths(inode.size, inode.prefix, mirrored=inode.mirrored)
    found_lengths = (case.flash, case.disk)
    tiers = zip(Lengths._fields, found_lengths, lengths, strict=True)
    for number, (tier, found, wanted) in enumerate(tiers, start=1):
        if found and not wanted:
            what = f"a {tier} object of {found} bytes, and it has none there"
            yield Fault(kinds.UNUSED_OBJECT, what, number)
        elif found is not None and (found > wanted or not wanted):
            what = f"its {tier} object has {found} bytes, and needs {wanted}"
            yield Fault(kinds.LEFTOVER, what, case.ino)
