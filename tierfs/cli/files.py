"""The files that a command is about, and the placement of each.

The arguments of a command line and a list on standard input become paths (`files`); problems are
printed as they occur (`Reporter`). The virtual attributes of a file give its placement
(`placement_of`).
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

import click

from tierfs.cli.messages import TOLD
from tierfs.common.errors import ExitCode, NotMounted, UsageError, printable
from tierfs.common.tierfs_xattrs import (
    FOR_EVER,
    MIRRORED,
    PIN,
    PINNED_BY,
    PREFIX,
    REQUESTED,
    WAITS,
    YES,
    parse_pinned_by,
    parse_prefix,
    parse_waits,
)
from tierfs.prewarm.counts import Counts
from tierfs.prewarm.find import (
    GONE,
    VANISHED,
    FileFinder,
    HeadLengths,
    parse_list,
    require_daemon,
)

F = TypeVar("F", bound=Callable[..., Any])

LIST: Final = "-"
PIECE: Final = 64 * 1024


def takes_files(command: F) -> F:
    """Give a command the arguments ``paths`` and the option ``null``."""
    # No click.Path: that looks the file up, and `warm --check` asks whether the kernel knows it.
    words = click.argument("paths", metavar="[PATH...] [-]", nargs=-1, type=click.UNPROCESSED)
    null = click.option(
        "-0", "--null", is_flag=True, help="The names of the list end with NUL bytes, not newlines."
    )
    return words(null(command))


def named(paths: tuple[str, ...]) -> list[bytes]:
    """The paths among the arguments."""
    return [os.fsencode(path) for path in paths if path != LIST]


def listed(paths: tuple[str, ...], *, null: bool) -> Iterator[bytes]:
    """The names of the list, read on demand, if one argument is ``-``."""
    return parse_list(_read_input, b"\0" if null else b"\n") if LIST in paths else iter(())


def require_files(verb: str, paths: tuple[str, ...], *, null: bool) -> None:
    """Refuse a command line that names no file.

    Raises:
        UsageError: there is no argument, or ``-0`` without a list.
    """
    if not paths:
        raise UsageError("name files or directories, or - for a list on standard input")
    if null and LIST not in paths:
        raise UsageError(f"-0 is about the list on standard input: tierfs {verb} -0 -")


def _read_input() -> bytes:
    """A piece of standard input; unbuffered, so that a thread that waits here can be left."""
    return os.read(sys.stdin.fileno(), PIECE)


class Reporter(Counts):
    """Counts that print each of the first problems at once, in a line on standard error."""

    __slots__ = ("exit_code",)

    def __init__(self) -> None:
        super().__init__()
        self.exit_code = ExitCode.OK
        """Of the first problem."""

    def fail(self, path: bytes, reason: str) -> None:
        """There is a problem with one path."""
        self._print(f"{printable(path)}: {reason}", ExitCode.UNEXPECTED)

    def stuck(self, path: bytes, reason: str) -> None:
        """There is no room for a file, and none will be made."""
        self._print(f"{printable(path)}: {reason}", ExitCode.NO_ROOM)

    def refuse(self, path: bytes) -> None:
        """A path is in no tierfs mount."""
        self.unreachable(NotMounted(f"{printable(path)} is not in a tierfs mount"))

    def unreachable(self, error: NotMounted) -> None:
        """A path is in no tierfs mount that answers."""
        self._print(str(error), error.exit_code)

    def failed(self, path: bytes, error: OSError, *, found: bool = True) -> None:
        """A call failed; ``found``: in a list or below a directory, where files come and go.

        Raises:
            NotMounted: the mount's daemon is gone, and every other file would fail as well.
        """
        require_daemon(error, path)
        if found and error.errno in VANISHED:
            self.skip(GONE)
        elif is_foreign(error):
            self.refuse(path)
        else:
            self.fail(path, reason(error))

    def print_rest(self) -> None:
        """Print how many problems were not printed, and what was skipped."""
        if self.errors > TOLD:
            click.echo(f"tierfs: and {self.errors - TOLD:,} more problems", err=True)
        for kind, count in self.skipped.most_common():
            click.echo(f"skipped: {count:,} {kind}", err=True)

    def _print(self, text: str, code: ExitCode) -> None:
        self.errors += 1
        if self.errors <= TOLD:
            click.echo(f"tierfs: {text}", err=True)
        self.exit_code = self.exit_code or code


def files(
    words: tuple[str, ...],
    reporter: Reporter,
    *,
    null: bool,
    recursive: bool,
    directory: Callable[[bytes], object] = lambda _: None,
) -> Iterator[bytes]:
    """The files that the arguments of a command line name, then those of its list.

    ``directory`` is called with each directory among the arguments, before its files.

    Raises:
        NotMounted: the daemon of a mount is gone while its directories or the list are read.
        UsageError: the list cannot be one.
    """
    finder = FileFinder(HeadLengths(), reporter, lambda _: False)
    for path in named(words):
        yield from _argument(finder, path, reporter, recursive=recursive, directory=directory)
    for found in finder.listed(listed(words, null=null)):
        yield found.path


def _argument(
    finder: FileFinder,
    path: bytes,
    reporter: Reporter,
    *,
    recursive: bool,
    directory: Callable[[bytes], object],
) -> Iterator[bytes]:
    try:
        known = finder.arguments([path])
    except NotMounted as error:
        return reporter.unreachable(error)
    for one in known:
        if stat.S_ISDIR(one.status.st_mode) and not recursive:
            reporter.fail(path, "it is a directory; give -r for all files in and below it")
        else:
            if stat.S_ISDIR(one.status.st_mode):
                directory(one.path)
            for found in finder.below([one]):
                yield found.path


# ------------------------------------------------------------------ where a file is

_FOREIGN: Final = frozenset({errno.EOPNOTSUPP, errno.ENODATA})
_REASONS: Final = {
    errno.EPERM: "only its owner and root may do that",
    errno.EROFS: "the mount is read-only",
    errno.EBUSY: "it is pinned, so it stays on flash; use tierfs unpin first",
}


class Placement(NamedTuple):
    """One regular file; sizes in bytes."""

    size: int
    prefix: int
    """The prefix; it may be larger than the file."""
    pin: str | None
    """``1``: without an end, else the time it ends; None: it has no pin of its own."""
    mirrored: bool
    """Whether the disk has a copy of what is on flash."""
    requested: int | None
    """The prefix of a request that is not done yet."""
    waits: str | None = None
    """Why it is misplaced; None: it is not."""
    stuck: bool = False
    """Whether it will not be moved without further action."""
    pin_above: str | None = None
    """The pin of the nearest directory above that has one, in the same form."""
    pinned_by: str | None = None
    """The path of that directory from the root of the mount."""

    @property
    def flash(self) -> int:
        """Bytes that are read from flash."""
        return min(self.size, self.prefix)

    @property
    def disk(self) -> int:
        """Bytes that are read from disk."""
        return self.size - self.flash

    @property
    def location(self) -> str:
        """``flash``, ``disk`` or ``split``, as ``tierfs.location`` says it."""
        if self.prefix == 0:
            return "disk"
        return "split" if self.disk else "flash"

    @property
    def is_pinned(self) -> bool:
        """Whether it has a pin, or a directory above it has."""
        return self.pin is not None or self.pin_above is not None

    @property
    def pinned_until(self) -> str | None:
        """When its pin, or else that of the directory, ends; None: never, or there is none."""
        pin = self.pin_above if self.pin is None else self.pin
        return None if pin == FOR_EVER.decode() else pin


def placement_of(path: bytes) -> Placement:
    """The placement of a file; the request first, since the prefix changes before the request ends.

    Raises:
        OSError: its attributes cannot be read; ``reason`` is the message for it.
    """
    requested = _value(path, REQUESTED)
    above = _value(path, PINNED_BY)
    pin_above, pinned_by = (None, None) if above is None else parse_pinned_by(above)
    waits, stuck = parse_waits(_value(path, WAITS) or b"")
    return Placement(
        size=os.lstat(path).st_size,
        prefix=parse_prefix(os.getxattr(path, PREFIX, follow_symlinks=False)),
        pin=None if (pin := _value(path, PIN)) is None else pin.decode(),
        mirrored=_value(path, MIRRORED) == YES,
        requested=None if requested is None else parse_prefix(requested),
        waits=waits or None,
        stuck=stuck,
        pin_above=pin_above,
        pinned_by=pinned_by,
    )


def put(path: bytes, name: str, value: bytes) -> None:
    """Set an attribute; raises OSError."""
    os.setxattr(path, name, value, follow_symlinks=False)


def remove(path: bytes, name: str) -> bool:
    """Remove an attribute; False: the file does not have it. Raises OSError."""
    try:
        os.removexattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return False
        raise
    return True


def reason(error: OSError) -> str:
    """Why the attributes of a file could not be read or changed."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def is_foreign(error: OSError) -> bool:
    """Whether the file is in no tierfs mount."""
    return error.errno in _FOREIGN


def _value(path: bytes, name: str) -> bytes | None:
    """An attribute that a file may lack, and that an older daemon may not know."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
