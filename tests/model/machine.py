"""The state machine: it does the same to a filesystem and to the model, and compares both."""

import stat
import time
from collections.abc import Callable
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model import strategies as draw
from tests.model.compare import Comparison, check_equal
from tests.model.driver import (
    Driver,
    Failed,
    FallocateMode,
    Operations,
    Path,
    RenameFlags,
    XattrFlags,
    outcome,
)
from tests.model.nodes import Node
from tests.model.posix_model import PosixModel

T = TypeVar("T")


class FilesystemMachine(RuleBasedStateMachine):
    """Rules for every operation; `boundary` is the number of bytes of a head."""

    boundary: int
    model: PosixModel

    def __init__(self, make_driver: Callable[[], Driver], boundary: int) -> None:
        super().__init__()
        began_ns = time.time_ns()
        self.boundary = boundary
        self.driver = make_driver()
        self.model = PosixModel()
        self._comparison = Comparison(self.model, self.driver, began_ns)
        # Whose bytes the last rule may have changed; None stands for anybody's.
        self._changed: set[Node] | None = set()
        self._agreed = True

    def is_at(self, path: Path, kind: type[Node]) -> bool:
        """Whether there is an inode of this kind at `path`."""
        return isinstance(outcome(lambda: self.model.node(path)), kind)

    def both(self, call: Callable[[Operations], T]) -> None:
        """Do one operation to the model and to the filesystem; the outcomes must be equal."""
        self._agreed = False
        expected = outcome(lambda: call(self.model))
        actual = outcome(lambda: call(self.driver))
        check_equal(actual, expected)

    @initialize()
    def furnish(self) -> None:
        """Begin with something of every kind, so that the first operations find a target."""
        self.mkdir((b"a",), 0o755)
        self.mkdir((b"a", b"b"), 0o755)
        self.mkdir((b"c",), 0o755)
        self.chown((b"c",), (1000, 100))
        self.chmod((b"c",), 0o2775)
        for path in (b"b",), (b"a", b"a"), (b"a", b"b", b"c"):
            self.create(path, 0o644)
        self.write((b"b",), 0, draw.Pattern(0, self.boundary + 1))
        self.link((b"b",), (b"c", b"a"))
        self.symlink(7, (b"a", b"c"))
        self.mknod((b"a", b"b", b"a"), stat.S_IFIFO | 0o644)
        for path in (b"a",), (b"b",):
            self.setxattr(path, b"user.a", draw.Pattern(1, 8), XattrFlags.CREATE)

    # Names

    @rule(path=draw.places, mode=draw.permissions)
    def create(self, path: Path, mode: int) -> None:
        self.both(lambda fs: fs.create(path, mode))

    @rule(path=draw.places, mode=draw.directory_modes)
    def mkdir(self, path: Path, mode: int) -> None:
        self.both(lambda fs: fs.mkdir(path, mode))

    @rule(path=draw.places, mode=draw.special_modes)
    def mknod(self, path: Path, mode: int) -> None:
        self.both(lambda fs: fs.mknod(path, mode))

    @rule(length=draw.target_lengths, path=draw.places)
    def symlink(self, length: int, path: Path) -> None:
        self.both(lambda fs: fs.symlink(draw.dangling(length), path))

    @rule(path=draw.anything)
    def readlink(self, path: Path) -> None:
        self.both(lambda fs: fs.readlink(path))

    @rule(path=draw.with_root)
    def readdir(self, path: Path) -> None:
        self.both(lambda fs: fs.readdir(path))

    @rule(existing=draw.anything, path=draw.places)
    def link(self, existing: Path, path: Path) -> None:
        self.both(lambda fs: fs.link(existing, path))

    @rule(path=draw.anything)
    def unlink(self, path: Path) -> None:
        self._changed = None
        self.both(lambda fs: fs.unlink(path))

    @rule(path=draw.anything)
    def rmdir(self, path: Path) -> None:
        self.both(lambda fs: fs.rmdir(path))

    @rule(source=draw.anything, into=draw.destinations, flags=draw.rename_flags)
    def rename(self, source: Path, into: Path, flags: RenameFlags) -> None:
        self._changed = None
        self.both(lambda fs: fs.rename(source, into, flags))

    # Bytes

    @rule(path=draw.files, offset=draw.offsets, length=draw.lengths)
    def read(self, path: Path, offset: int, length: int) -> None:
        self.both(lambda fs: fs.read(path, offset, length))

    @rule(path=draw.files, offset=draw.offsets, data=draw.data)
    def write(self, path: Path, offset: int, data: draw.Pattern) -> None:
        self._will_change(path)
        self.both(lambda fs: fs.write(path, offset, data.bytes()))

    @rule(path=draw.files, data=draw.data)
    def append(self, path: Path, data: draw.Pattern) -> None:
        self._will_change(path)
        self.both(lambda fs: fs.append(path, data.bytes()))

    @rule(path=draw.files, data=draw.data)
    def rewrite(self, path: Path, data: draw.Pattern) -> None:
        self._changed = None
        self.both(lambda fs: fs.rewrite(path, data.bytes()))

    @rule(path=draw.files, size=draw.sizes)
    def truncate(self, path: Path, size: int) -> None:
        self._will_change(path)
        self.both(lambda fs: fs.truncate(path, size))

    # Attributes

    @rule(path=draw.with_root, mode=draw.permissions)
    def chmod(self, path: Path, mode: int) -> None:
        self.both(lambda fs: fs.chmod(path, mode))

    @rule(path=draw.with_root, owner=draw.owners)
    def chown(self, path: Path, owner: tuple[int, int]) -> None:
        self.both(lambda fs: fs.chown(path, *owner))

    @rule(path=draw.with_root, atime_ns=draw.times, mtime_ns=draw.times)
    def utimens(self, path: Path, atime_ns: int, mtime_ns: int) -> None:
        self.both(lambda fs: fs.utimens(path, atime_ns, mtime_ns))

    @rule(
        path=draw.with_root,
        name=draw.xattr_names,
        value=draw.xattr_values,
        flags=draw.xattr_flags,
    )
    def setxattr(self, path: Path, name: bytes, value: draw.Pattern, flags: XattrFlags) -> None:
        self.both(lambda fs: fs.setxattr(path, name, value.bytes(), flags))

    @rule(held=draw.held_xattrs, value=draw.xattr_values, flags=draw.xattr_flags)
    def setxattr_again(
        self, held: tuple[Path, bytes], value: draw.Pattern, flags: XattrFlags
    ) -> None:
        self.both(lambda fs: fs.setxattr(*held, value.bytes(), flags))

    @rule(held=draw.held_xattrs)
    def removexattr_held(self, held: tuple[Path, bytes]) -> None:
        self.both(lambda fs: fs.removexattr(*held))

    @rule(path=draw.with_root, name=draw.xattr_names)
    def getxattr(self, path: Path, name: bytes) -> None:
        self.both(lambda fs: fs.getxattr(path, name))

    @rule(path=draw.with_root, name=draw.xattr_names)
    def removexattr(self, path: Path, name: bytes) -> None:
        self.both(lambda fs: fs.removexattr(path, name))

    # Open files

    @rule(path=draw.files, handle=draw.handles)
    def open(self, path: Path, handle: int) -> None:
        if handle not in self.model.handles:
            self.both(lambda fs: fs.open(path, handle))

    @precondition(lambda self: self.model.handles)
    @rule(handle=draw.open_handles, offset=draw.offsets, data=draw.data)
    def pwrite(self, handle: int, offset: int, data: draw.Pattern) -> None:
        self._changed = {self.model.handles[handle]}
        self.both(lambda fs: fs.pwrite(handle, offset, data.bytes()))

    @precondition(lambda self: self.model.handles)
    @rule(handle=draw.open_handles, size=draw.sizes)
    def ftruncate(self, handle: int, size: int) -> None:
        self._changed = {self.model.handles[handle]}
        self.both(lambda fs: fs.ftruncate(handle, size))

    @precondition(lambda self: self.model.handles and self.driver.traits.allocates)
    @rule(
        handle=draw.open_handles,
        mode=draw.fallocate_modes,
        offset=draw.offsets,
        length=draw.lengths,
    )
    def fallocate(self, handle: int, mode: FallocateMode, offset: int, length: int) -> None:
        self._changed = {self.model.handles[handle]}
        self.both(lambda fs: fs.fallocate(handle, mode, offset, length))

    @precondition(lambda self: self.model.handles)
    @rule(
        source=draw.open_handles,
        offset=draw.offsets,
        into=draw.open_handles,
        to=draw.offsets,
        length=draw.lengths,
    )
    def copy_range(self, source: int, offset: int, into: int, to: int, length: int) -> None:
        self._changed = {self.model.handles[into]}
        self.both(lambda fs: fs.copy_range(source, offset, into, to, length))

    @precondition(lambda self: self.model.handles)
    @rule(handle=draw.open_handles)
    def fsync(self, handle: int) -> None:
        self.both(lambda fs: fs.fsync(handle))

    @precondition(lambda self: self.model.handles)
    @rule(handle=draw.open_handles)
    def close(self, handle: int) -> None:
        self.both(lambda fs: fs.close(handle))

    @precondition(lambda self: self.model.handles)
    @rule(handle=draw.open_handles)
    def unlink_open(self, handle: int) -> None:
        """Take away the last names of an open file, which random paths seldom do."""
        file = self.model.handles[handle]
        self._changed = None
        for path in [path for path in self.model.paths() if self.model.node(path) is file]:
            self.unlink(path)

    # The filesystem

    @rule()
    def forget(self) -> None:
        self._changed = None
        self.driver.forget()

    @rule(dice=draw.seldom)
    def remount(self, dice: int) -> None:
        if dice:
            return
        for handle in list(self.model.handles):
            self.close(handle)
        self._changed = None
        self.driver.remount()

    @rule(dice=draw.seldom)
    def crash(self, dice: int) -> None:
        if dice:
            return
        for handle in list(self.model.handles):
            self.model.close(handle)
        self._changed = None
        self.driver.crash()

    @invariant()
    def same_tree(self) -> None:
        """After every rule both trees are the same."""
        self._agreed = False
        self._comparison.check(self._changed)
        self._changed, self._agreed = set(), True

    def teardown(self) -> None:
        """Compare once more with nothing cached, unless something is known to be wrong."""
        try:
            if self._agreed:
                self._last_look()
        finally:
            self.driver.finish()

    def _last_look(self) -> None:
        self.driver.forget()
        self._comparison.check(None)
        for handle in list(self.model.handles):
            self.close(handle)
        self.driver.verify()

    def _will_change(self, path: Path) -> None:
        node = outcome(lambda: self.model.node(path))
        self._changed = set() if isinstance(node, Failed) else {node}
