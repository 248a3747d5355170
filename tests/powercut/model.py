"""What a writer's directory may look like after a power cut.

The rules are those that ext4 and XFS keep, and no more (fsync(2), rename(2)):

* What was synced and not changed since is there: bytes, size, mode, xattrs, mtime, names.
* What was changed since may be as it was at any moment since then, byte by byte. The size is
  between the smallest and the largest since; what is beyond the smallest may be zeros.
* Bytes that were cut off before the last sync are nowhere.
* A name that may refer to several files refers to the one with the inode number that is found: two
  files may have the same bytes, such as none.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.powercut.journal import Entry
from tests.powercut.operations import (
    CHANGES_BYTES,
    LABEL,
    MAKES,
    SYNCS_ALL,
    SYNCS_OWN,
    Operation,
)

CHANGES_NAMES = {*MAKES, "link", "rename", "unlink", "mkdir", "rmdir"}

DIRECTORY = -1
"""In place of a file's number: a directory."""

KEPT_BURIED = 8
SHOWN = 10
"""Operations on a file that a failure tells of."""


class Failure(Exception):
    """One thing that is not as it must be."""

    def __init__(self, kind: str, path: str, what: str) -> None:
        super().__init__(f"{kind}: {path}: {what}")
        self.kind = kind
        self.what = what


@dataclass(slots=True)
class Found:
    """What is there under one name."""

    inode: int
    directory: bool
    content: bytes
    error: int
    """errno of the read that failed, or 0."""
    size: int
    mode: int
    mtime: int
    label: bytes | None


def look(path: Path) -> Found:
    """Look at one name, with every byte."""
    facts = path.lstat()
    content, error, label = b"", 0, None
    directory = stat.S_ISDIR(facts.st_mode)
    if not directory:
        try:
            content = path.read_bytes()
        except OSError as exc:
            error = exc.errno or errno.EIO
        try:
            label = os.getxattr(path, LABEL)
        except OSError as exc:
            if exc.errno != errno.ENODATA:
                error = exc.errno or errno.EIO
    mode = stat.S_IMODE(facts.st_mode)
    size, mtime = facts.st_size, facts.st_mtime_ns
    return Found(facts.st_ino, directory, content, error, size, mode, mtime, label)


def look_at_all(root: Path) -> dict[str, Found]:
    """Everything below ``root``."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            found[str(path.relative_to(root))] = look(path)
    return found


@dataclass(slots=True)
class File:
    """One inode: each list has what was synced and every state since, the present one last."""

    inode: int = 0
    """Its inode number; 0: nobody was told."""
    contents: list[bytes] = field(default_factory=lambda: [b""])
    modes: list[int] = field(default_factory=lambda: [0o644])
    labels: list[bytes | None] = field(default_factory=lambda: [None])
    mtime: int | None = None
    """As it was at the last sync, unless it may have changed since."""
    set_explicitly: bool = False
    """Whether the mtime is one that a program set, and no change of bytes has set since."""
    buried: list[bytes] = field(default_factory=list)
    """Contents that were cut or replaced before the last sync."""
    synced: bool = False

    @property
    def content(self) -> bytes:
        """What a program reads now."""
        return self.contents[-1]

    @property
    def changed(self) -> bool:
        """Whether its bytes were changed since the last sync."""
        return len(self.contents) > 1

    def become(self, content: bytes) -> None:
        """It holds this now. One that appends in between is not kept: it tells nothing more."""
        grows = len(self.contents) > 1 and content.startswith(self.content)
        if grows and self.content.startswith(self.contents[-2]):
            self.contents.pop()
        self.contents.append(content)

    def sync(self, mtime: int | None) -> None:
        """It was synced, and had this mtime then, if anybody looked."""
        self.sync_bytes()
        self.modes, self.labels, self.mtime = self.modes[-1:], self.labels[-1:], mtime

    def sync_bytes(self) -> None:
        """Its bytes and its size were synced."""
        now = self.content
        self.buried += [old for old in self.contents[:-1] if len(old) > len(now) or old != now]
        self.buried = self.buried[-KEPT_BURIED:]
        self.contents, self.synced = [now], True

    def sync_range(self, operation: Operation) -> None:
        """The bytes that this wrote were synced, and the size as far as they need it."""
        self.contents = [operation.changed(content) for content in self.contents]

    def judge(self, path: str, found: Found) -> Failure | None:
        """What is wrong with it, if anything."""
        sizes = [len(content) for content in self.contents]
        state = "changed since its last sync" if self.changed else "synced"
        if not self.synced:
            state = "never synced"
        if found.error:
            kind = "unreadable" if self.synced and not self.changed else "unreadable, changed"
            what = f"{os.strerror(found.error)}; {state}, size {found.size}, {sizes}"
            return Failure(kind, path, what)
        if found.size != len(found.content):
            return Failure("size", path, f"{found.size}, but {len(found.content)} bytes are read")
        if not min(sizes) <= found.size <= max(sizes):
            kind = "bytes lost" if found.size < min(sizes) else "too long"
            return Failure(kind, path, f"{found.size} bytes; {state}, {sizes}")
        if wrong := self._wrong_bytes(found.content, min(sizes)):
            return Failure(*self._named(found.content, wrong, path, state, sizes))
        return self._judge_attributes(path, found)

    def _judge_attributes(self, path: str, found: Found) -> Failure | None:
        if found.mode not in self.modes:
            return Failure("mode", path, f"{found.mode:o} is none of {self.modes}")
        if found.label not in self.labels:
            return Failure("xattr", path, f"{found.label!r} is none of {self.labels}")
        if self.mtime not in {None, found.mtime}:
            return Failure("mtime", path, f"{found.mtime}, synced was {self.mtime}")
        return None

    def _wrong_bytes(self, content: bytes, zeros_from: int) -> list[int]:
        """The positions whose byte the file never had since its last sync."""
        there = np.frombuffer(content, np.uint8)
        right = np.zeros(len(there), bool)
        right[zeros_from:] = there[zeros_from:] == 0
        for layer in self.contents:
            known = np.frombuffer(layer, np.uint8)[: len(there)]
            right[: len(known)] |= there[: len(known)] == known
        return [int(position) for position in np.flatnonzero(~right)]

    def _named(
        self, content: bytes, wrong: list[int], path: str, state: str, sizes: list[int]
    ) -> tuple[str, str, str]:
        what = (
            f"{len(wrong)} bytes from {wrong[0]} to {wrong[-1]}; {state}, {len(content)}, {sizes}"
        )
        for old in self.buried:
            back = [at for at in wrong if at < len(old) and old[at] == content[at]]
            if len(back) > len(wrong) // 2:
                return "bytes that were cut came back", path, what
        if not any(content[at] for at in wrong):
            return "zeros", path, what
        return "wrong bytes", path, what

    def accept(self, found: Found) -> None:
        """Go on from what a cut left; what was not synced still is not."""
        self.inode = found.inode
        self.contents.append(found.content)
        self.modes.append(found.mode)
        self.labels.append(found.label)


class Model:
    """The directory of one writer: by name, which file it may refer to.

    Without ``exact_times`` the kernel gathers writes: it says when they were made, and the server
    may say when they came, some milliseconds later. Only an mtime that a program set counts then.
    """

    def __init__(self, *, exact_times: bool = True) -> None:
        self._exact_times = exact_times
        self.files: dict[int, File] = {}
        self.names: dict[str, list[int | None]] = {}
        """What the name referred to when it was last synced, and since; the present one last."""
        self.doubtful: set[str] = set()
        """Names about which an operation failed: nobody knows what they are now."""
        self._made = 0
        self._past: list[tuple[Entry, set[int | None]]] = []
        """Since the last look, each with the numbers of the files that it changed or named."""

    def now(self, path: str) -> int | None:
        """What the name refers to: a file's number, ``DIRECTORY``, or None."""
        return self.names.get(path, [None])[-1]

    def file(self, path: str) -> File:
        """The file that the name refers to."""
        number = self.now(path)
        assert number is not None, path
        return self.files[number]

    def paths(self) -> list[str]:
        """The names of files, but for the doubtful ones."""
        return sorted(
            path
            for path, chain in self.names.items()
            if chain[-1] not in {None, DIRECTORY} and path not in self.doubtful
        )

    def folders(self) -> list[str]:
        """The names of directories, but for the doubtful ones."""
        return sorted(
            path
            for path, chain in self.names.items()
            if chain[-1] == DIRECTORY and path not in self.doubtful
        )

    def take(self, entry: Entry) -> None:
        """Follow an operation; one that failed may have happened, in part as well."""
        operation = entry.operation
        concerned = {self.now(operation.path)}
        self._past.append((entry, concerned))
        if not entry.done:
            self._doubt(operation)
        if operation.kind in {"fsync", "fsyncdir"}:
            if entry.done:
                self._sync(operation, entry.result)
        elif operation.kind in CHANGES_NAMES:
            self._name(operation)
            concerned |= {self.now(operation.path), self.now(operation.target)}
            if entry.done and operation.kind in MAKES:
                self.file(operation.path).inode = entry.result
        else:
            file = self.file(operation.path)
            self._change(file, operation)
            if entry.done and operation.kind in SYNCS_ALL:
                file.sync_bytes()
            elif entry.done and operation.kind in SYNCS_OWN:
                file.sync_range(operation)

    def _doubt(self, operation: Operation) -> None:
        """Leave every name of what it concerned alone until the next look."""
        numbers = {self.now(operation.path), self.now(operation.target)} - {None, DIRECTORY}
        others = {path for path, chain in self.names.items() if chain[-1] in numbers}
        self.doubtful |= others | {operation.path, operation.target} - {"", "."}

    def _name(self, operation: Operation) -> None:
        number = self.now(operation.path)
        match operation.kind:
            case "create" | "nameless":
                self._made += 1
                self.files[self._made] = made = File()
                self._change(made, operation)
                self._refer(operation.path, self._made)
            case "mkdir":
                self._refer(operation.path, DIRECTORY)
            case "unlink" | "rmdir":
                self._refer(operation.path, None)
            case "link":
                self._refer(operation.target, number)
            case "rename":
                self._refer(operation.target, number)
                self._refer(operation.path, None)

    def _refer(self, path: str, number: int | None) -> None:
        self.names.setdefault(path, [None]).append(number)

    def _change(self, file: File, operation: Operation) -> None:
        if operation.kind in CHANGES_BYTES:
            if operation.kind == "rewrite":
                file.contents.append(b"")
            source = self.file(operation.target).content if operation.kind == "copy" else b""
            file.become(operation.changed(file.content, source))
        if operation.kind in CHANGES_BYTES or operation.kind == "utime":
            file.mtime, file.set_explicitly = None, operation.kind == "utime"
        match operation.kind:
            case "chmod":
                file.modes.append(operation.length)
            case "setxattr":
                file.labels.append(operation.data())
            case "removexattr":
                file.labels.append(None)

    def _sync(self, operation: Operation, mtime: int) -> None:
        if operation.kind == "fsyncdir":
            for path in self.names.keys() - self.doubtful:
                if os.path.dirname(path) == operation.path.strip("."):
                    self.names[path] = self.names[path][-1:]
            return
        number = self.now(operation.path)
        file = self.file(operation.path)
        file.sync(mtime if self._exact_times or file.set_explicitly else None)
        for path, chain in self.names.items():
            if chain[-1] == number and path not in self.doubtful:
                self.names[path] = [number]

    def judge(self, found: dict[str, Found]) -> Iterator[tuple[str, Failure]]:
        """Every failure, by name; what is there is what the model goes on from."""
        self.doubtful.clear()
        for path in sorted({*self.names, *found}):
            failure, number = self._judge_name(path, found.get(path))
            chain = self.names.setdefault(path, [None])
            chain.append(number)
            if failure:
                yield path, Failure(failure.kind, path, f"{failure.what}; {self.past(path)}")
        self._past.clear()
        accepted: set[int] = set()
        for path, chain in self.names.items():
            number = chain[-1]
            if number is not None and number != DIRECTORY and number not in accepted:
                self.files[number].accept(found[path])
                accepted.add(number)

    def _judge_name(self, path: str, found: Found | None) -> tuple[Failure | None, int | None]:
        """What is wrong with a name, and what it refers to."""
        chain = self.names.get(path, [None])
        if found is None:
            return (None if None in chain else Failure("name lost", path, f"{chain}")), None
        if found.directory:
            right = DIRECTORY in chain
            return (None if right else Failure("name back", path, "a directory")), DIRECTORY
        files = {number: self.files[number] for number in chain[::-1] if number in self.files}
        failures = []
        for inode in (found.inode, 0):  # of which nobody was told may be any, but for the others
            for number, file in files.items():
                if file.inode == inode:
                    failure = file.judge(path, found)
                    if failure is None:
                        file.inode = found.inode
                        return None, number
                    failures.append(failure)
        if not failures:
            kind, known = "name back", [file.inode for file in files.values()]
            if files:
                kind = "another file"
            what = f"inode {found.inode} of {found.size} bytes, not one of {known}"
            failures.append(Failure(kind, path, what))
        self._made += 1
        self.files[self._made] = File()
        return failures[0], self._made

    def past(self, path: str) -> str:
        """The last operations on a name, and on the files that it may refer to."""
        numbers = {*self.names.get(path, [])} & self.files.keys()
        told = []
        for (operation, done, *_), concerned in reversed(self._past):
            if numbers & concerned or path in {operation.path, operation.target}:
                where = f" {operation.offset}+{operation.length}" if operation.length else ""
                word = "from" if operation.kind == "copy" else "to"
                other = f" {word} {operation.target}" if operation.target else ""
                told.append(
                    f"{operation.kind} {operation.path}{other}{where}{'' if done else ' FAILED'}"
                )
        return " < ".join(told[:SHOWN])

    def forget(self, path: str) -> None:
        """The name was removed, durably."""
        self.names[path] = [None]

    def keep_all(self) -> None:
        """The daemon was killed and the power stayed: all that returned is there."""
        for path, chain in self.names.items():
            if path not in self.doubtful:
                self.names[path] = chain[-1:]
        for path in self.paths():
            file = self.file(path)
            file.sync(file.mtime)

    def settle(self, path: str, mtime: int) -> None:
        """The file was synced as it is."""
        self.file(path).sync(mtime)

    def settle_names(self) -> None:
        """All names are durable as they are."""
        self.names = {path: chain[-1:] for path, chain in self.names.items() if chain[-1]}
        used = {chain[-1] for chain in self.names.values()}
        self.files = {number: file for number, file in self.files.items() if number in used}
