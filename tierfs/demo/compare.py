"""Compare paths of a source with their copies: what one reader process does.

Nothing here trusts a time stamp or a size for the bytes: every byte of both sides is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tierfs.demo.findings import Difference, Findings, Kind
from tierfs.demo.trees import names_in
from tierfs.demo.xattrs import get_xattrs

CHUNK = 1024 * 1024
Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pair:
    """A source directory and its copy. ``since_ns``: when the copy began (Unix time)."""

    source: Path
    target: Path
    since_ns: int


@dataclass(frozen=True, slots=True)
class Names:
    """The hard link facts of one path on both sides: which inode, with how many names."""

    path: Path
    source: Identity
    target: Identity
    target_links: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One value of ``lstat`` that must be equal, and how to show it."""

    kind: Kind
    value: Callable[[os.stat_result], object]
    show: Callable[[os.stat_result], str]


def _show_mode(status: os.stat_result) -> str:
    return f"{stat.filemode(status.st_mode)} ({stat.S_IMODE(status.st_mode):04o})"


def _show_time(status: os.stat_result) -> str:
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    return f"{seconds}.{nanoseconds:09}"


FACTS = (
    Fact(Kind.MODE, lambda st: stat.S_IMODE(st.st_mode), _show_mode),
    Fact(Kind.OWNER, lambda st: (st.st_uid, st.st_gid), lambda st: f"{st.st_uid}:{st.st_gid}"),
    Fact(Kind.MTIME, lambda st: st.st_mtime_ns, _show_time),
    Fact(Kind.DEVICE, lambda st: st.st_rdev, lambda st: hex(st.st_rdev)),
)


def compare_batch(pair: Pair, paths: Sequence[Path]) -> tuple[Findings, list[Names]]:
    """Compare every path of ``paths``; what only all together show (hard links) is returned.

    A path that fails with an OSError is a difference; nothing is raised for it.
    """
    findings, names = Findings(), []
    for path in paths:
        found, name = _compare_safely(pair, path)
        findings.add(found)
        names += [name] if name else []
    return findings, names


def _compare_safely(pair: Pair, path: Path) -> tuple[Findings, Names | None]:
    try:
        return _compare(pair, path)
    except OSError as exc:
        ours = Path(os.fsdecode(exc.filename or "")).is_relative_to(pair.source)
        if ours or _changed(pair, path):
            return Findings(set_aside=[path]), None
        return Findings([Difference(path, Kind.UNREADABLE, exc.strerror or str(exc))]), None


def _changed(pair: Pair, path: Path) -> bool:
    """Whether the source of ``path`` is gone or was touched after the copy began."""
    try:
        return (pair.source / path).lstat().st_ctime_ns >= pair.since_ns
    except OSError:
        return True


def _compare(pair: Pair, path: Path) -> tuple[Findings, Names | None]:
    source, target = pair.source / path, pair.target / path
    ours = source.lstat()
    try:
        theirs = target.lstat()
    except FileNotFoundError:
        return _judge(pair, path, [Difference(path, Kind.MISSING)]), None
    found = _judge(pair, path, list(_differences(path, source, target, ours, theirs)))
    found.compared_names = 1
    found.compared_bytes = theirs.st_size if stat.S_ISREG(theirs.st_mode) else 0
    found.compared_xattrs = len(get_xattrs(source))
    return found, _names(path, ours, theirs)


def _judge(pair: Pair, path: Path, differences: list[Difference]) -> Findings:
    if differences and _changed(pair, path):
        return Findings(set_aside=[path])
    return Findings(differences)


def _names(path: Path, ours: os.stat_result, theirs: os.stat_result) -> Names | None:
    folder = stat.S_ISDIR(ours.st_mode) or stat.S_ISDIR(theirs.st_mode)
    if folder or max(ours.st_nlink, theirs.st_nlink) == 1:
        return None
    source, target = (ours.st_dev, ours.st_ino), (theirs.st_dev, theirs.st_ino)
    return Names(path, source, target, theirs.st_nlink)


def _differences(
    path: Path, source: Path, target: Path, ours: os.stat_result, theirs: os.stat_result
) -> Iterator[Difference]:
    if stat.S_IFMT(ours.st_mode) != stat.S_IFMT(theirs.st_mode):
        yield Difference(path, Kind.TYPE, f"{_show_mode(theirs)}, not {_show_mode(ours)}")
        return
    yield from compare_facts(path, ours, theirs)
    yield from _compare_xattrs(path, source, target)
    if stat.S_ISREG(ours.st_mode):
        yield from _compare_contents(path, source, target)
    elif stat.S_ISLNK(ours.st_mode):
        yield from _compare_link_targets(path, source, target)
    elif stat.S_ISDIR(ours.st_mode):
        yield from compare_listings(path, names_in(source), target)


def compare_facts(path: Path, ours: os.stat_result, theirs: os.stat_result) -> Iterator[Difference]:
    """Compare the values of ``lstat`` of ``path`` on both sides, but for type and size."""
    for fact in FACTS:
        if fact.kind is Kind.OWNER and not _owner_is_copied(ours):
            continue
        if fact.value(ours) != fact.value(theirs):
            yield Difference(path, fact.kind, f"{fact.show(theirs)}, not {fact.show(ours)}")


def _owner_is_copied(ours: os.stat_result) -> bool:
    """Only root can give a file to somebody else; ``cp -a`` of others leaves it to them."""
    return os.geteuid() in {0, ours.st_uid}


def _compare_xattrs(path: Path, source: Path, target: Path) -> Iterator[Difference]:
    ours, theirs = get_xattrs(source), get_xattrs(target)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            yield Difference(path, Kind.XATTR_MISSING, name)
        elif name not in ours:
            yield Difference(path, Kind.XATTR_EXTRA, name)
        elif ours[name] != theirs[name]:
            shown = f"{name} is {theirs[name][:40]!r}, not {ours[name][:40]!r}"
            yield Difference(path, Kind.XATTR_DIFFERENT, shown)


def _compare_link_targets(path: Path, source: Path, target: Path) -> Iterator[Difference]:
    # Path.readlink would tidy the targets up, and "a//b" is not "a/b" here.
    ours, theirs = os.readlink(source), os.readlink(target)
    if ours != theirs:
        yield Difference(path, Kind.LINK_TARGET, f"{theirs[:80]!r}, not {ours[:80]!r}")


def _compare_contents(path: Path, source: Path, target: Path) -> Iterator[Difference]:
    with source.open("rb", buffering=0) as one, target.open("rb", buffering=0) as other:
        sizes = os.fstat(one.fileno()).st_size, os.fstat(other.fileno()).st_size
        if sizes[0] != sizes[1]:
            yield Difference(path, Kind.SIZE, f"{sizes[1]} bytes, not {sizes[0]}")
            return
        offset = _first_difference(one.fileno(), other.fileno())
    if offset is not None:
        yield Difference(path, Kind.BYTES, f"first at offset {offset} of {sizes[0]}")


def _first_difference(one: int, other: int) -> int | None:
    """The offset of the first byte that differs between two descriptors, to the longer end."""
    offset = 0
    while True:
        ours, theirs = os.pread(one, CHUNK, offset), os.pread(other, CHUNK, offset)
        if ours != theirs:
            equal = _common(ours, theirs)
            if equal < min(len(ours), len(theirs)) or not ours or not theirs:
                return offset + equal
            offset += equal  # one read was merely shorter: go on where it ended
        elif not ours:
            return None
        else:
            offset += len(ours)


def _common(ours: bytes, theirs: bytes) -> int:
    """How many bytes at the start of both are equal."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(ours), len(theirs)))


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def compare_listings(path: Path, ours: Sequence[str], target: Path) -> Iterator[Difference]:
    """Compare the names ``ours`` with those that the directory ``target`` lists.

    ``path`` is its path in the tree. A name that is simply missing is found, and said, where
    the file itself is compared; here it is only said when the name can be looked up after all.
    Raises OSError when ``target`` cannot be listed.
    """
    listed = names_in(target)
    for name in sorted(set(listed) - set(ours)):
        yield Difference(path / name, Kind.EXTRA)
    for name in sorted(set(ours) - set(listed)):
        if _exists(target / name):
            yield Difference(path / name, Kind.UNLISTED)
    if len(listed) != len(set(listed)):
        twice = sorted({name for name in listed if listed.count(name) > 1})
        yield Difference(path, Kind.EXTRA, f"lists {twice[:3]!r} more than once")
