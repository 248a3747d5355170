"""The shared directory in the model: what each call does to it, made alone."""

from __future__ import annotations

import copy
import errno
import stat
from typing import TypeVar, cast

from tests.concurrency.calls import Call, Outcome, perform
from tests.model.driver import Path, os_error
from tests.model.nodes import Directory, Node, Regular
from tests.model.posix_model import PosixModel
from tests.model.sparse import SparseBytes

N = TypeVar("N", bound=Node)

FOLDERS = ("A", "B")
"""Directories that stay: only the names in them change."""

FLEETING = ("d", "e")
"""Directories that are removed and made again."""

SIZED = ("one", "two")
"""Files whose names stay: only their sizes change."""

MOST_WORKERS = 8
"""Processes that use the directory at the same time, at most."""

SOURCES = tuple(f"mine-{number}" for number in range(MOST_WORKERS))
"""Files whose names stay, one for each process, which makes links to it."""


READS = {"look", "size", "state", "fsync"}
"""Calls that change nothing."""


class Numbers:
    """What itertools.count does, but it can be copied."""

    def __init__(self, first: int) -> None:
        self.next = first

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> int:
        self.next += 1
        return self.next - 1


class Content(SparseBytes):
    """The bytes of a file that several models have in common until one changes them."""

    def copy(self) -> Content:
        """One that may be changed."""
        twin = Content()
        twin.size = self.size
        twin._chunks = {index: bytearray(chunk) for index, chunk in self._chunks.items()}
        twin._touched = set(self._touched)
        return twin

    def key(self) -> object:
        """Equal for equal bytes; good as long as nobody changes them."""
        if self._key is None:
            chunks = ((index, bytes(chunk)) for index, chunk in sorted(self._chunks.items()))
            self._key = (self.size, tuple(pair for pair in chunks if any(pair[1])))
        return self._key

    _key: object = None


class Tree(PosixModel):
    """The model; it learns the filesystem's own inode numbers when a call tells one."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = self._count = Numbers(self.root.ino + 1)
        self._known: dict[int, int] = {}
        for folder in FOLDERS + FLEETING:
            self.mkdir((folder.encode(),), 0o755)
        for name in SIZED + SOURCES:
            self.create((name.encode(),), 0o644)
        self.changed = False

    def create(self, path: Path, mode: int) -> None:
        """open(O_CREAT | O_EXCL), and close."""
        super().create(path, mode)
        file = self.node(path)
        assert isinstance(file, Regular)
        file.data = Content()

    def take(self, call: Call, outcome: Outcome) -> bool:
        """Do the call; False if it cannot have had this outcome: then this is of no more use."""
        known = len(self._known)
        expected = perform(self, call)
        if call.name == "create" and isinstance(expected, int):
            fits = isinstance(outcome, int) and self._is(expected, outcome)
        elif call.name == "look" and isinstance(expected, list) and isinstance(outcome, list):
            fits = outcome[0] == expected[0] and self._is(int(expected[1]), int(outcome[1]))
        else:
            fits = expected == outcome
        self.changed = len(self._known) != known or not (
            call.name in READS or isinstance(expected, str)
        )
        return fits

    def copy(self) -> Tree:
        """One that goes its own way; contents are copied when they change."""
        twin = Tree.__new__(Tree)
        made: dict[int, Node] = {}
        twin._numbers = twin._count = Numbers(self._count.next)
        twin._known = dict(self._known)
        twin.root = _twin(self.root, made)
        twin.handles = {handle: _twin(file, made) for handle, file in self.handles.items()}
        return twin

    def key(self) -> object:
        """Equal for two models that nobody can tell apart."""
        seen: dict[int, int] = {}
        shape = []
        todo: list[tuple[object, Node]] = [((), self.root), *sorted(self.handles.items())]
        for place, node in todo:
            number = seen.setdefault(node.ino, len(seen))
            if isinstance(node, Directory):
                todo += [((place, name), child) for name, child in sorted(node.entries.items())]
            content = _content(node).key() if isinstance(node, Regular) else None
            known = self._known.get(node.ino)
            shape.append((place, number, known, node.mode, node.nlink, content))
        return tuple(shape)

    def entries(self, path: Path) -> frozenset[tuple[str, int]] | None:
        """The names in a directory with the numbers of their inodes; None where there is none."""
        try:
            node = self.node(path)
        except OSError:
            return None
        if not isinstance(node, Directory):
            return None
        return frozenset((name.decode(), child.ino) for name, child in node.entries.items())

    # What Directory asks for beyond PosixModel

    def holds(self, handle: int) -> bool:
        """Whether `handle` is open."""
        return handle in self.handles

    def make(self, path: Path) -> int:
        """The model's own number of the new file."""
        self.create(path, 0o644)
        return self.node(path).ino

    def look(self, path: Path) -> list[int]:
        """The type bits and the model's own number."""
        node = self.node(path)
        return [stat.S_IFMT(node.mode), node.ino]

    def size(self, path: Path) -> int:
        """The size."""
        return self.node(path).size

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted."""
        return [name.decode() for name in self.readdir(path)]

    def state(self, handle: int) -> list[int]:
        """Links and size."""
        node = self.handles[handle]
        return [node.nlink, node.size]

    def link_open(self, handle: int, path: Path) -> None:
        """A file without a name gets none again, but the new name is looked at first."""
        node = self.handles[handle]
        parent, name = self._vacancy(path)
        if node.nlink == 0:
            raise os_error(errno.ENOENT)
        parent.put(name, node)
        node.nlink += 1

    def truncate(self, path: Path, size: int) -> None:
        """truncate(2) of one of SIZED."""
        file = self.node(path)
        assert isinstance(file, Regular)
        self._own(file).truncate(size)

    def ftruncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""
        self._own(self.handles[handle]).truncate(size)

    def _write(self, file: Regular, offset: int, data: bytes) -> int:
        return super()._write(self._own(file), offset, data)

    def _own(self, file: Regular) -> Regular:
        """Have the file's bytes for this model alone."""
        file.data = _content(file).copy()
        return file

    def _is(self, number: int, actual: int) -> bool:
        """Whether our inode may be the filesystem's `actual`; from now on it is no other."""
        if number in self._known:
            return self._known[number] == actual
        self._known = {
            ours: theirs for ours, theirs in self._known.items() if ours in self._alive()
        }
        if actual in self._known.values():
            return False
        self._known[number] = actual
        return True

    def _alive(self) -> set[int]:
        """The inodes that have a name or are open; the numbers of others may come back."""
        named = {self.node(path).ino for path in self.paths()}
        return named | {node.ino for node in self.handles.values()}


def _content(file: Regular) -> Content:
    assert isinstance(file.data, Content)
    return file.data


def _twin(node: N, made: dict[int, Node]) -> N:
    """A copy of an inode and of all below; one for each, however many names it has."""
    twin = made.get(node.ino)
    if twin is None:
        twin = made[node.ino] = copy.copy(node)
        if isinstance(twin, Directory):
            twin.entries = {name: _twin(child, made) for name, child in twin.entries.items()}
    return cast("N", twin)
