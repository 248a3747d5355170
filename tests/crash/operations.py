"""The operations that a writer does, as plain records: chosen, applied, applied again elsewhere.

A record names everything that an operation needs, data by its seed, so that the same record has
the same effect on a mount and on a native directory. Every operation is one change: when it is
interrupted, it has happened or not, except for a long write, of which any part may be there.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.mounting import HEAD

FILES, FOLDERS = 40, 6
"""Files and folders of one writer, about."""

LONGEST = 3 * HEAD
"""Bytes that one operation writes at most."""

FURTHEST = 4 * HEAD
"""Offset at which a write or a truncation happens at most."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to a tree; paths are relative to its root."""

    kind: str
    path: str
    target: str = ""
    number: int = 0
    size: int = 0
    seed: int = 0

    def data(self) -> bytes:
        """The bytes that the operation writes."""
        return random.Random(self.seed).randbytes(self.size)


def apply(root: Path, operation: Operation) -> None:
    """Do the operation below `root`; OSError if it does not succeed."""
    KINDS[operation.kind](root, operation)


def _create(root: Path, operation: Operation) -> None:
    os.close(os.open(root / operation.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))


def _write(root: Path, operation: Operation) -> None:
    descriptor = os.open(root / operation.path, os.O_WRONLY)
    try:
        data = operation.data()
        done = 0
        while done < len(data):
            done += os.pwrite(descriptor, data[done:], operation.number + done)
    finally:
        os.close(descriptor)


def _append(root: Path, operation: Operation) -> None:
    descriptor = os.open(root / operation.path, os.O_WRONLY | os.O_APPEND)
    try:
        data = operation.data()
        done = 0
        while done < len(data):
            done += os.write(descriptor, data[done:])
    finally:
        os.close(descriptor)


def _fsync(root: Path, operation: Operation) -> None:
    descriptor = os.open(root / operation.path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


KINDS: dict[str, Callable[[Path, Operation], object]] = {
    "create": _create,
    "write": _write,
    "append": _append,
    "fsync": _fsync,
    "truncate": lambda root, it: os.truncate(root / it.path, it.number),
    "rename": lambda root, it: (root / it.path).rename(root / it.target),
    "link": lambda root, it: os.link(root / it.path, root / it.target),
    "symlink": lambda root, it: (root / it.path).symlink_to(it.target),
    "unlink": lambda root, it: (root / it.path).unlink(),
    "mkdir": lambda root, it: (root / it.path).mkdir(),
    "rmdir": lambda root, it: (root / it.path).rmdir(),
    "chmod": lambda root, it: (root / it.path).chmod(it.number),
    "setxattr": lambda root, it: os.setxattr(root / it.path, it.target, it.data()),
    "removexattr": lambda root, it: os.removexattr(root / it.path, it.target),
}
"""What each kind does."""

ON_FILES = (
    *("write", "write", "write", "append", "append", "fsync", "truncate", "rename", "rename"),
    *("link", "unlink", "chmod", "setxattr", "setxattr", "removexattr"),
)
"""Kinds that need a file, the frequent ones several times."""

ANYWHERE = ("create", "create", "symlink", "mkdir", "rmdir", "rename folder")


class Chooser:
    """Chooses operations that succeed on the tree as it is."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._chance = random.Random(seed)
        self._named = 0
        self._prefix = f"{seed:x}"

    def choose(self) -> Operation:
        """The next operation; looks at the tree to know what is there."""
        files, folders = self._contents()
        kind = self._chance.choice(ANYWHERE + ON_FILES)
        if len(files) > FILES:
            return Operation("unlink", self._chance.choice(files))
        if kind in ON_FILES and files:
            return self._on_file(kind, files, folders)
        return self._anywhere(kind, folders)

    def _on_file(self, kind: str, files: list[str], folders: list[str]) -> Operation:
        chance = self._chance
        path = chance.choice(files)
        if (self._root / path).is_symlink():
            return Operation("unlink", path)
        if kind == "removexattr":
            names = os.listxattr(self._root / path)
            kind = "removexattr" if names else "setxattr"
        number = chance.randrange(FURTHEST) if kind != "chmod" else chance.choice((0o600, 0o644))
        size = min(LONGEST, int(chance.expovariate(1 / HEAD)) + 1)
        return Operation(
            kind,
            path,
            self._target(kind, files, folders),
            number,
            size if kind != "setxattr" else size % 1000,
            chance.randrange(2**32),
        )

    def _target(self, kind: str, files: list[str], folders: list[str]) -> str:
        if "xattr" in kind:
            return "user.label"
        # A rename often replaces a file that is there.
        if kind == "rename" and self._chance.random() < 0.4:
            return self._chance.choice(files)
        return self._new(folders)

    def _anywhere(self, kind: str, folders: list[str]) -> Operation:
        if kind == "symlink":
            return Operation("symlink", self._new(folders), "a target that does not exist")
        if kind == "mkdir" and len(folders) < FOLDERS:
            return Operation("mkdir", self._new(folders))
        empty = [one for one in folders if one != "." and not any((self._root / one).iterdir())]
        if kind == "rmdir" and empty:
            return Operation("rmdir", empty[0])
        if kind == "rename folder" and len(folders) > 1:
            return Operation("rename", self._chance.choice(folders[1:]), self._new(["."]))
        return Operation("create", self._new(folders))

    def _new(self, folders: list[str]) -> str:
        self._named += 1
        return f"{self._chance.choice(folders)}/{self._prefix}-{self._named} \u00e9"

    def _contents(self) -> tuple[list[str], list[str]]:
        files, folders = [], []
        for folder, _, names in os.walk(self._root, onerror=_raise):
            relative = os.path.relpath(folder, self._root)
            folders.append(relative)
            files += [f"{relative}/{name}" for name in names]
        return sorted(files), sorted(folders)


def _raise(error: OSError) -> None:
    """Without this, a walk takes a directory that cannot be read for an empty one."""
    raise error
