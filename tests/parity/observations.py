"""What can be seen of files, without what no two filesystems share (numbers, devices, times)."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import NamedTuple

from tests.parity.calls import attempt

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}
HASHED = 64 * 1024 * 1024
"""Bytes of content that `tree` compares in full; of larger, sparse files, the two ends."""

END = 64 * 1024


class Attributes(NamedTuple):
    """What must agree."""

    kind: str
    mode: str
    uid: int
    gid: int
    nlink: int
    size: int
    """0 for a directory: ext4 counts its blocks."""
    rdev: tuple[int, int]


class Entry(NamedTuple):
    """One name of a tree."""

    attributes: Attributes
    same_as: str
    """The first name that is a hard link to the same file."""
    content: str
    xattrs: tuple[tuple[str, bytes], ...]


def attributes_of(facts: os.stat_result) -> Attributes:
    """The part of a stat result that must agree."""
    return Attributes(
        kind=KINDS[stat.S_IFMT(facts.st_mode)],
        mode=oct(stat.S_IMODE(facts.st_mode)),
        uid=facts.st_uid,
        gid=facts.st_gid,
        nlink=facts.st_nlink,
        size=0 if stat.S_ISDIR(facts.st_mode) else facts.st_size,
        rdev=(os.major(facts.st_rdev), os.minor(facts.st_rdev)),
    )


def changed_fields(before: object, after: object) -> tuple[str, ...]:
    """Which of the attributes and times differ; of a name that came or went, that."""
    if not isinstance(before, os.stat_result):
        return ("appeared",) if isinstance(after, os.stat_result) else ()
    if not isinstance(after, os.stat_result):
        return ("gone",)
    if before.st_ino != after.st_ino:
        return ("replaced",)
    left, right = _watched(before), _watched(after)
    return tuple(field for field in left if left[field] != right[field])


def tree_of(root: str) -> dict[str, Entry]:
    """Every name below `root` with all that belongs to it; names are shown as text."""
    found: dict[str, Entry] = {}
    first: dict[int, str] = {}
    for path in _walk(os.fsencode(root)):
        name = os.path.relpath(path, os.fsencode(root)).decode("utf-8", "backslashreplace")
        facts = os.lstat(path)
        same = first.setdefault(facts.st_ino, name)
        found[name] = Entry(attributes_of(facts), same, _content(path, facts), _xattrs(path))
    return found


def _watched(facts: os.stat_result) -> dict[str, object]:
    chosen = attributes_of(facts)
    return {
        "atime": facts.st_atime_ns,
        "mtime": facts.st_mtime_ns,
        "ctime": facts.st_ctime_ns,
        "nlink": chosen.nlink,
        "size": chosen.size,
        "mode": chosen.mode,
        "uid": chosen.uid,
        "gid": chosen.gid,
    }


def _walk(root: bytes) -> list[bytes]:
    """`root` and all names below, in the order of their bytes."""
    found = [root]
    for folder, folders, files in os.walk(root):
        found += [os.path.join(folder, name) for name in folders + files]
    return sorted(found)


def _content(path: bytes, facts: os.stat_result) -> str:
    if stat.S_ISLNK(facts.st_mode):
        return os.readlink(path).decode("utf-8", "backslashreplace")
    if not stat.S_ISREG(facts.st_mode):
        return ""
    with open(path, "rb") as file:
        if facts.st_size <= HASHED:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
        head = file.read(END)
        file.seek(-END, os.SEEK_END)
        return hashlib.blake2b(head + file.read()).hexdigest()[:32]


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    names = attempt(os.listxattr, path, follow_symlinks=False)
    if isinstance(names, str):
        return (("listxattr", names.encode()),)
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))
