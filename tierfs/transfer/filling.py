"""A plain tree that is filled, directory by directory: what every export does.

Directories are gone through depth first, by rising inode number, and stay open until all below them
is done. A directory is private until then. It gets its own attributes last, whose times nothing
changes any more. A file gets its name when it is complete: what has a temporary name was left by a
run that was interrupted, and is removed.
"""

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

from tierfs.common.errors import UsageError
from tierfs.common.sync import sync_filesystem
from tierfs.common.tree_report import Report, Watch
from tierfs.transfer.copying import TEMPORARY, Attributes, Place, set_attributes, temporary

FATAL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTCONN})
"""After these every other file would fail as well."""
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
WHILE_FILLED: Final = 0o700
"""Mode of a directory of the target until all is in it."""


class Source(Protocol):
    """What is known of something that is brought."""

    @property
    def ino(self) -> int:
        """Its inode number."""

    @property
    def mode(self) -> int:
        """Its type and mode, as st_mode."""


P = ParamSpec("P")
S = TypeVar("S", bound=Source)


class Entry(NamedTuple, Generic[S]):
    """Something in a directory, and where it goes."""

    path: bytes
    """Below the tree."""
    source: S
    target: Place


@dataclass(slots=True)
class Directory(Generic[S]):
    """One that is being filled."""

    path: bytes
    """Below the tree; empty: the tree itself."""
    source: S
    target: int
    """Its descriptor."""
    entries: Iterator[Entry[S]]
    """Directories in it."""


class Filling(ABC, Generic[S]):
    """One run; ``watch`` is called now and then with the figures so far."""

    def __init__(self, watch: Watch) -> None:
        self.report = Report()
        self._watch = watch
        self._first: dict[Hashable, bytes] = {}
        """Files with several names: where the first of them is below the target."""
        self._root = -1

    def _fill(self, target: Path, open_top: Callable[[], S]) -> None:
        """Bring everything below a directory to below ``target``, made if there is none; durably.

        Raises:
            OSError: a directory could not be opened or made, or the target takes nothing more.
        """
        target.mkdir(mode=WHILE_FILLED, parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._root = os.open(target, DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, self._root)
            above: list[Directory[S]] = []
            stack.callback(self._close_all, above)
            self._enter(above, b"", open_top(), os.dup(self._root))
            while above:
                self._watch(self.report)
                entry = next(above[-1].entries, None)
                if entry is None:
                    self._leave(above[-1])
                    self._close_all([above.pop()])
                else:
                    self._enter_below(above, entry)
            self._call("sync_target", sync_filesystem, self._root)
        self._watch(self.report)

    # ---------------------------------------------------------------- what an export does

    @abstractmethod
    def _listed(self, directory: Directory[S]) -> Iterable[Entry[S]]:
        """What is in a directory."""

    @abstractmethod
    def _bring(self, files: list[Entry[S]]) -> None:
        """Bring what is in a directory and is none."""

    @abstractmethod
    def _attributes_of(self, source: S) -> Attributes:
        """Those of a directory."""

    def _call(
        self,
        label: str,  # noqa: ARG002 - for subclasses
        function: Callable[P, object],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Call the operating system; an export of what a crash must not harm has a seam here."""
        function(*args, **kwargs)

    def _open(self, entry: Entry[S]) -> S:
        """The source of a directory that is entered."""
        return entry.source

    def _close(self, source: S) -> None:
        """Everything below a directory is done."""

    # ---------------------------------------------------------------- directories

    def _enter_below(self, above: list[Directory[S]], entry: Entry[S]) -> None:
        try:
            with suppress(FileExistsError):
                os.mkdir(entry.target.name, WHILE_FILLED, dir_fd=entry.target.directory)
            with ExitStack() as stack:
                target = entry.target.open(DIRECTORY)
                stack.callback(os.close, target)
                source = self._open(entry)
                stack.pop_all()
        except OSError as error:
            self._fail(entry.path, error)
        else:
            self._enter(above, entry.path, source, target)

    def _enter(self, above: list[Directory[S]], path: bytes, source: S, target: int) -> None:
        """Bring the files of a directory; the directories in it are left to its ``entries``."""
        directory = Directory(path, source, target, iter(()))
        above.append(directory)
        try:
            with suppress(PermissionError):
                os.fchmod(target, WHILE_FILLED)
            entries = sorted(self._listed(directory), key=lambda entry: entry.source.ino)
            _remove_leftovers(target, {entry.target.name for entry in entries})
        except OSError as error:
            self._fail(path or b".", error)
            return
        directory.entries = iter([each for each in entries if stat.S_ISDIR(each.source.mode)])
        self._bring([each for each in entries if not stat.S_ISDIR(each.source.mode)])

    def _leave(self, directory: Directory[S]) -> None:
        path = directory.path or b"."
        try:
            attributes = self._attributes_of(directory.source)
            self._note_lost(path, set_attributes(directory.target, attributes))
            self.report.count(directories=1)
        except OSError as error:
            self._fail(path, error)

    def _close_all(self, directories: list[Directory[S]]) -> None:
        for each in directories:
            os.close(each.target)
            self._close(each.source)

    # ---------------------------------------------------------------- names, and problems

    def _link_further(self, target: Place, first: bytes) -> None:
        """Give the file that has the name ``first`` below the target a further one."""
        with suppress(FileNotFoundError):
            if os.path.samestat(target.status(), Place(self._root, first).status()):
                self.report.count(links=1, present=1)
                return
        self._put(target, first, self._root)
        self.report.count(links=1)

    def _put(self, target: Place, source: bytes | str, directory: int) -> None:
        """Give a file one more name, in the place of what has it."""
        new = temporary(target)
        self._call(
            "link_out",
            os.link,
            source,
            new.name,
            src_dir_fd=directory,
            dst_dir_fd=new.directory,
            follow_symlinks=False,
        )
        new.rename(target)

    def _note_lost(self, path: bytes, lost: tuple[str, ...]) -> None:
        """Note extended attributes that the target does not take."""
        if lost:
            self.report.fail(path, "the target does not take " + ", ".join(lost))

    def _fail(self, path: bytes, error: OSError) -> None:
        """Note what could not be brought, and continue; unless nothing else can be either."""
        if error.errno in FATAL:
            raise OSError(error.errno, f"{os.fsdecode(path)}: {error.strerror}") from error
        self.report.fail(path, error.strerror or str(error))


def real(path: Path, *, strict: bool = False) -> Path:
    """The path without links, also where they form a loop, for which Path.resolve() fails.

    Raises:
        OSError: with ``strict``, there is nothing at the path.
    """
    return Path(os.path.realpath(path, strict=strict))


def require_apart(one: Path, other: Path) -> None:
    """Check that neither of two real paths lies in the other.

    Raises:
        UsageError: one does.
    """
    if one == other or one in other.parents or other in one.parents:
        raise UsageError(f"{one} and {other}: one must not lie in the other")


def _remove_leftovers(directory: int, wanted: set[bytes]) -> None:
    """Remove what an interrupted run has left, unless something in the source is called so."""
    for name in map(os.fsencode, os.listdir(directory)):
        if name.startswith(TEMPORARY) and name not in wanted:
            with suppress(OSError):
                os.unlink(name, dir_fd=directory)
