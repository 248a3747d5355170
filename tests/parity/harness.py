"""How a parity case is written.

    from tests.parity.harness import Place, case

    @case
    def rename_file_over_empty_directory(place: Place) -> object:
        place.file("a")
        place.directory("b")
        return place.attempt(os.rename, place / "a", place / "b"), place.tree()

    @case.each(mode=[0o000, 0o644], how=["path", "descriptor"])
    def chmod(place: Place, mode: int, how: str) -> object: ...

A case runs on a fresh directory of a native ext4 and of two mounts, one with the fast path and one
without, as root, with umask 022. What it returns, its observation, must be equal: plain tuples,
dicts, numbers and strings without inode numbers, times or the place's path. The native filesystem
is mounted `noatime`, as a mount of tierfs behaves. A case of `VARIATIONS` runs on several native
filesystems, which differ; a mount must do as one of them does. The case leaves no descriptor open
and no process behind; the current directory and the umask are put back for it.
`@case.read_only` gives it a prepared tree (see `prepare_read_only`) on filesystems that are mounted
read-only.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.parity.calls import Libc, as_user, attempt, errno_name, in_child, libc
from tests.parity.observations import Entry, attributes_of, changed_fields, tree_of
from tests.parity.registry import CASES, Case, case

__all__ = ["CASES", "Case", "Place", "case", "errno_name", "prepare_read_only"]

CLOCK_REALTIME_COARSE = 5
"""clock_gettime(2); Python has no name for it. From it ext4 may take its times."""

TICKS = 2
"""Of the coarse clock, that pass at most before a call whose effect on times is looked at."""

Name = str | bytes | int
"""Below the place's directory; "." is the directory itself; a number is a descriptor."""


class Place:
    """A fresh directory of one of the two filesystems."""

    libc: Libc = libc
    """The C library: `place.libc.renameat2(...)` raises OSError as Python's own calls do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str | bytes) -> Path:
        return self.path / os.fsdecode(name)

    # ------------------------------------------------------------ making things

    def file(self, name: str | bytes = "file", content: bytes = b"", mode: int = 0o644) -> Path:
        """Make a regular file, owned by root unless `chown` follows."""
        path = self / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def directory(self, name: str | bytes = "directory", mode: int = 0o755) -> Path:
        """Make a directory."""
        path = self / name
        path.mkdir()
        path.chmod(mode)
        return path

    def symlink(self, name: str | bytes, target: str | bytes) -> Path:
        """Make a symbolic link; the target is not looked at."""
        path = self / name
        path.symlink_to(os.fsdecode(target))
        return path

    @contextlib.contextmanager
    def opened(
        self, name: str | bytes, flags: int = os.O_RDONLY, mode: int = 0o666
    ) -> Iterator[int]:
        """A descriptor, closed at the end."""
        fd = os.open(self / name, flags, mode)
        try:
            yield fd
        finally:
            os.close(fd)

    # ------------------------------------------------------------ making calls

    def attempt(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """What the call returns, or the name of its errno, such as "ENOENT"."""
        return attempt(function, *args, **kwargs)

    def in_child(self, function: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
        """The same from a forked child; what it returns must be picklable."""
        return in_child(function, *args)

    def as_user(
        self,
        uid: int,
        gid: int,
        groups: Collection[int],
        function: Callable[..., Any],
        *args: Any,  # noqa: ANN401
        capabilities: Iterable[int] = (),
    ) -> Any:  # noqa: ANN401
        """The same from a forked child with these credentials and capabilities (numbers)."""
        return as_user(uid, gid, groups, function, *args, capabilities=capabilities)

    # ------------------------------------------------------------ looking

    def stat(self, *names: Name) -> dict[str, Any]:
        """Attributes of each name (of the directory itself if none), or the errno's name."""
        labels = _labels(names or (".",))
        facts = {label: self._lstat(name) for label, name in labels.items()}
        return {
            label: attributes_of(found) if isinstance(found, os.stat_result) else found
            for label, found in facts.items()
        }

    def touched(
        self,
        names: Sequence[Name],
        function: Callable[..., Any],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> dict[str, Any]:
        """What the call changed of each name: of atime, mtime, ctime, nlink, size, mode, uid, gid.

        Or ("appeared",), ("gone",), ("replaced",). If the call failed, "error" is its errno's name.
        """
        labels = _labels(names)
        before = {label: self._lstat(name) for label, name in labels.items()}
        _await_a_later_time(before.values())
        changes: dict[str, Any] = {}
        try:
            function(*args, **kwargs)
        except OSError as exc:
            changes["error"] = errno_name(exc.errno or 0)
        for label, name in labels.items():
            changes[label] = changed_fields(before[label], self._lstat(name))
        return changes

    def tree(self) -> dict[str, Entry]:
        """Everything below: attributes, hard links, content, symlink targets, xattrs."""
        return tree_of(os.fspath(self.path))

    def _lstat(self, name: Name) -> object:
        if isinstance(name, int):
            return attempt(os.fstat, name)
        return attempt(os.lstat, self / name)


def _labels(names: Sequence[Name]) -> dict[str, Name]:
    """What observations call each name: a descriptor's number is chance, its position is not."""
    return {
        f"descriptor {place}" if isinstance(name, int) else os.fsdecode(name): name
        for place, name in enumerate(names)
    }


def _await_a_later_time(facts: Iterable[object]) -> None:
    """Wait until a change gives each of these files another time than those that it has."""
    known = [found for found in facts if isinstance(found, os.stat_result)]
    newest = max(
        (max(one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns) for one in known), default=0
    )
    tick = time.clock_getres(CLOCK_REALTIME_COARSE)
    # Some have times in the future, given to them.
    deadline = time.monotonic() + TICKS * tick
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= newest and time.monotonic() < deadline:
        time.sleep(tick / 8)


def prepare_read_only(place: Place) -> None:
    """The tree that the cases on read-only filesystems find."""
    place.file("file", b"content")
    place.file("other", b"other content")
    place.directory()
    place.directory("full")
    place.file("full/inner")
    place.symlink("symlink", "file")
    os.link(place / "file", place / "link")
    os.mkfifo(place / "fifo")
    os.setxattr(place / "file", "user.label", b"value")
