"""Directory trees with everything a filesystem has to keep, and their comparison."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.mounting import HEAD
from tests.support.proc import run

SIZES = (0, 1, 4095, 4096, 30_000, HEAD - 1, HEAD, HEAD + 1, 2 * HEAD, 200_001)
"""Sizes of the files of a tree, in bytes: both sides of the head boundary."""

NAMES = (b"plain", b"with space", "Z\u00fcrich".encode(), b"-dash", b"not\xffutf8", b"line\nbreak")
"""Names that programs trip over; none ends in a digit."""

MODES = (0o644, 0o600, 0o755, 0o444, 0o4755, 0o000)
"""Permission bits of a tree's files."""

SHOWN = 20
"""Differences shown at most."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What `snapshot` records of one name."""

    kind: int
    mode: int
    owner: tuple[int, int]
    size: int
    modified_ns: int
    links: int
    content: bytes
    xattrs: tuple[tuple[str, bytes], ...]


def make_tree(root: Path, *, files: int, seed: int = 1) -> None:
    """Fill `root` with `files` regular files and with links, FIFOs, ACLs and xattrs beside them."""
    chance = random.Random(seed)
    folders = _make_folders(root, count=max(2, files // 20))
    for number in range(files):
        name = NAMES[number % len(NAMES)] + b"-%d" % number
        _make_file(folders[number % len(folders)] / os.fsdecode(name), number, chance)
    _make_links(root, folders)
    _make_access_lists(root, folders)
    for number, folder in enumerate(reversed(folders)):
        os.utime(folder, ns=(10**18 + number, 1_500_000_000_123_456_789 + number))


def snapshot(root: Path) -> dict[bytes, Entry]:
    """Every name below `root`, as bytes relative to it, with what belongs to it."""
    found = {b".": entry_of(root)}
    for folder, folders, files in os.walk(root, onerror=_raise):
        for path in (Path(folder, name) for name in folders + files):
            found[os.fsencode(path.relative_to(root))] = entry_of(path)
    return found


def entry_of(path: Path) -> Entry:
    """Attributes, content and xattrs of one name, symbolic links not followed."""
    facts = path.lstat()
    folder = stat.S_ISDIR(facts.st_mode)
    return Entry(
        kind=stat.S_IFMT(facts.st_mode),
        mode=stat.S_IMODE(facts.st_mode),
        owner=(facts.st_uid, facts.st_gid),
        # Directories differ in these from one filesystem to another.
        size=0 if folder else facts.st_size,
        modified_ns=facts.st_mtime_ns,
        links=0 if folder else facts.st_nlink,
        content=_content(path, facts.st_mode),
        xattrs=_xattrs(path),
    )


def differences(left: Mapping[bytes, Entry], right: Mapping[bytes, Entry]) -> list[str]:
    """The names whose entries differ, each with what it is on either side."""
    names = sorted({*left, *right})
    lines = [
        f"{name!r}: {left.get(name)} != {right.get(name)}"
        for name in names
        if left.get(name) != right.get(name)
    ]
    return lines[:SHOWN]


def _make_folders(root: Path, *, count: int) -> list[Path]:
    folders = [root]
    for number in range(count):
        folder = folders[number // 3] / f"folder-{number}"
        folder.mkdir(parents=True)
        folder.chmod((0o755, 0o700, 0o1777, 0o2755)[number % 4])
        folders.append(folder)
    return folders


def _make_file(path: Path, number: int, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(SIZES[number % len(SIZES)]))
    if number % 3 == 0:
        os.setxattr(path, "user.label", f"image {number}".encode())
        os.setxattr(path, "user.bytes", bytes(range(256)))
    if os.geteuid() == 0:
        os.chown(path, 1000 + number % 3, 2000 + number % 2)
        if number % 5 == 0:
            os.setxattr(path, "trusted.origin", b"scanner")
    mode = MODES[number % len(MODES)]
    # Without root, a file that nobody may read could not be compared.
    path.chmod(mode if os.geteuid() == 0 else mode | 0o400)
    os.utime(path, ns=(10**18 + number, 1_600_000_000_987_654_321 + number))


def _make_links(root: Path, folders: list[Path]) -> None:
    (root / "dangling").symlink_to("nowhere/at all")
    (root / "long").symlink_to("/".join(["x" * 100] * 20))
    (folders[-1] / "up").symlink_to("../plain-0")
    os.mkfifo(folders[1] / "fifo", 0o640)
    os.link(root / "plain-0", folders[-1] / "hard link")
    with (root / "sparse").open("wb") as sparse:
        sparse.seek(3 * HEAD)
        sparse.write(b"end")
        sparse.truncate(5 * HEAD)


def _make_access_lists(root: Path, folders: list[Path]) -> None:
    run(["setfacl", "-m", "u:12345:rw,g:23456:r", root / "sparse"])
    run(["setfacl", "-d", "-m", "u:12345:rwx", folders[1]])


def _content(path: Path, mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return os.fsencode(path.readlink())
    if not stat.S_ISREG(mode):
        return b""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def _raise(error: OSError) -> None:
    """Without this, a walk takes a directory that cannot be read for an empty one."""
    raise error
