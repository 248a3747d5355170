"""Holds a whole tree against the model: names, attributes, bytes, targets and xattrs."""

from collections.abc import Callable, Iterable

from tests.model.driver import Driver, Path, Stat
from tests.model.nodes import Directory, Node, Regular, Symlink
from tests.model.posix_model import PosixModel


class Comparison:
    """One filesystem and its model, and which inode of the one is which of the other."""

    def __init__(self, model: PosixModel, driver: Driver, began_ns: int) -> None:
        self._model = model
        self._driver = driver
        self._began_ns = began_ns
        self._actual_ino: dict[int, int] = {}
        self._model_ino: dict[int, int] = {}

    def check(self, changed: set[Node] | None) -> None:
        """Compare everything, but the bytes only of the `changed` files, or of all if None."""
        self._forget_the_gone()
        for path in [(), *self._model.paths()]:
            self._check_node(path, changed)
        for handle, file in self._model.handles.items():
            self._check_stat(f"handle {handle}", file, self._driver.fstat(handle))
            if changed is None or file in changed:
                self._check_bytes_of_handle(handle, file)

    def _check_node(self, path: Path, changed: set[Node] | None) -> None:
        node = self._model.node(path)
        self._check_stat(_shown(path), node, self._driver.stat(path))
        self._check_xattrs(path, node)
        if isinstance(node, Directory):
            _equal(_shown(path), "names", self._driver.readdir(path), sorted(node.entries))
        if isinstance(node, Symlink):
            _equal(_shown(path), "target", self._driver.readlink(path), node.target)
        if isinstance(node, Regular) and (changed is None or node in changed):
            self._check_bytes_of_path(path, node)

    def _check_stat(self, where: str, node: Node, actual: Stat) -> None:
        wrong = node.differences(actual, self._began_ns)
        assert not wrong, f"{where}: {'; '.join(wrong)}"
        known = self._actual_ino.setdefault(node.ino, actual.ino)
        assert known == actual.ino, f"{where}: inode {actual.ino} was {known} before"
        other = self._model_ino.setdefault(actual.ino, node.ino)
        assert other == node.ino, f"{where}: inode {actual.ino} is that of another file"

    def _check_xattrs(self, path: Path, node: Node) -> None:
        _equal(_shown(path), "xattrs", self._driver.listxattr(path), sorted(node.xattrs))
        for name, value in node.xattrs.items():
            _equal(_shown(path), f"xattr {name!r}", self._driver.getxattr(path, name), value)

    def _check_bytes_of_path(self, path: Path, file: Regular) -> None:
        def read(offset: int, length: int) -> bytes:
            return self._driver.read(path, offset, length)

        _check_bytes(_shown(path), file, read)

    def _check_bytes_of_handle(self, handle: int, file: Regular) -> None:
        def read(offset: int, length: int) -> bytes:
            return self._driver.pread(handle, offset, length)

        _check_bytes(f"handle {handle}", file, read)

    def _forget_the_gone(self) -> None:
        """Let inode numbers come back, where the filesystem under test may do that."""
        if self._driver.traits.reuses_inodes:
            alive = {node.ino for node in self._living()}
            self._model_ino = {a: m for a, m in self._model_ino.items() if m in alive}

    def _living(self) -> Iterable[Node]:
        yield from (self._model.node(path) for path in [(), *self._model.paths()])
        yield from self._model.handles.values()


def check_equal(actual: object, expected: object) -> None:
    """Assert that two outcomes are equal; of long bytes, say where they part."""
    if isinstance(actual, bytes) and isinstance(expected, bytes) and actual != expected:
        raise AssertionError(_first_difference(actual, expected, 0))
    assert actual == expected, f"{actual!r}, not {expected!r}"


def _check_bytes(where: str, file: Regular, read: Callable[[int, int], bytes]) -> None:
    for offset, length in file.data.windows():
        actual, expected = read(offset, length), file.data.read(offset, length)
        assert actual == expected, f"{where}: {_first_difference(actual, expected, offset)}"


def _first_difference(actual: bytes, expected: bytes, offset: int) -> str:
    """Say where two ranges part, since nobody reads two ranges of 64 KiB."""
    if len(actual) != len(expected):
        return f"{len(actual)} bytes at {offset}, not {len(expected)}"
    place = next(i for i, (a, b) in enumerate(zip(actual, expected, strict=True)) if a != b)
    return f"byte {offset + place} is {actual[place]}, not {expected[place]}"


def _equal(where: str, what: str, actual: object, expected: object) -> None:
    assert actual == expected, f"{where}: {what} {actual!r}, not {expected!r}"


def _shown(path: Path) -> str:
    return "/" + b"/".join(name[:20] for name in path).decode(errors="backslashreplace")
