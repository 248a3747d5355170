"""Whether names, link counts and directories fit; pure but for asking where a directory is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tierfs.fsck import kinds
from tierfs.fsck.check import Fault
from tierfs.fsck.faults import Case
from tierfs.fsck.paths import Paths
from tierfs.index.inodes import ROOT


class _Range(NamedTuple):
    low: int
    high: int


def faults(case: Case, paths: Paths) -> Iterator[Fault]:
    """What is wrong with the names of the inode, and with those in it."""
    yield from _children_faults(case)
    if case.inode is None:
        if case.name_count and not case.is_root:
            yield Fault(
                kinds.DANGLING, f"no row, and {case.name_count} names", int(_nothing_is_left(case))
            )
        return
    if case.is_root:
        yield from _root_faults(case)
    elif not case.name_count and case.inode.nlink:
        yield Fault(kinds.UNNAMED, f"link count {case.inode.nlink}, and no name", case.ino)
    elif case.is_directory:
        yield from _directory_faults(case, paths)
    yield from _link_faults(case)


def _nothing_is_left(case: Case) -> bool:
    """Whether a name leads to nothing at all: else it tells where the bytes, or names, belong."""
    return case.flash is None and case.disk is None and not case.children


def _children_faults(case: Case) -> Iterator[Fault]:
    if not case.children or (case.is_root and case.inode is None):
        return
    links = 2 + case.subdirectories[0]
    if case.inode is None:
        yield Fault(kinds.HOMELESS, f"{case.children} names in it, and no row", links)
    elif not case.is_directory:
        yield Fault(kinds.HOMELESS, f"{case.children} names in it, and it is no directory")
    elif not case.inode.nlink and not case.name_count:
        yield Fault(kinds.HOMELESS, f"{case.children} names in it, and it is removed", links)


def _root_faults(case: Case) -> Iterator[Fault]:
    if not case.is_directory:
        yield Fault(kinds.ROOT, "it is no directory")
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
        row, entry = case.inode.parent, case.names.parent
        what = f"its row says it is in inode {row}, its name is in inode {entry}"
        yield Fault(kinds.PARENT, what, entry)
    if not case.reached and min(loop := paths.loop(case.ino), default=0) == case.ino:
        yield Fault(kinds.CYCLE, f"{len(loop)} directories are inside one another")


def _link_faults(case: Case) -> Iterator[Fault]:
    wanted = _wanted_links(case)
    if case.inode and wanted and not wanted.low <= case.inode.nlink <= wanted.high:
        what = f"link count {case.inode.nlink}, and it must be {wanted.low}"
        yield Fault(kinds.LINKS, what, wanted.low)


def _wanted_links(case: Case) -> _Range | None:
    """The link count: of a directory 2 and its directories, one of which may have lost its row."""
    if not case.is_directory:
        return _Range(case.name_count, case.name_count) if case.name_count else None
    if case.inode and not (case.inode.nlink or case.name_count or case.is_root):
        return None
    directories, dangling = case.subdirectories
    return _Range(2 + directories, 2 + directories + dangling)
