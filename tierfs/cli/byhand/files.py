"""The regular files that a command is about, and what stands in the way, told as it is met."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator

import click

from tierfs.base.errors import ExitCode, NotMounted
from tierfs.base.text import printable
from tierfs.cli.byhand.place import is_foreign, reason
from tierfs.cli.given import listed, named
from tierfs.prewarm.counts import Counts
from tierfs.prewarm.find import GONE, VANISHED, FileFinder, HeadLengths, require_daemon


class Complaints(Counts):
    """Counts that report each problem at once, in a line on standard error."""

    __slots__ = ("exit_code",)

    def __init__(self) -> None:
        super().__init__()
        self.exit_code = ExitCode.OK
        """That of the first problem."""

    def fail(self, path: bytes, reason: str) -> None:
        """Something is the matter with one path."""
        self._tell(f"{printable(path)}: {reason}", ExitCode.UNEXPECTED)

    def stuck(self, path: bytes, reason: str) -> None:
        """A file has no room where it is to go, and none will be made."""
        self._tell(f"{printable(path)}: {reason}", ExitCode.NO_ROOM)

    def refuse(self, path: bytes) -> None:
        """A path is in no tierfs mount."""
        self.unreachable(NotMounted(f"{printable(path)} is not in a tierfs mount"))

    def unreachable(self, error: NotMounted) -> None:
        """A path is in no tierfs mount that answers."""
        self._tell(str(error), error.exit_code)

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

    def tell_skipped(self) -> None:
        """Say what was left alone."""
        for kind, count in self.skipped.most_common():
            click.echo(f"left alone: {count:,} {kind}", err=True)

    def _tell(self, text: str, code: ExitCode) -> None:
        click.echo(f"tierfs: {text}", err=True)
        self.errors += 1
        self.exit_code = self.exit_code or code


def files(
    words: tuple[str, ...],
    complaints: Complaints,
    *,
    null: bool,
    recursive: bool,
    directory: Callable[[bytes], object] = lambda _: None,
) -> Iterator[bytes]:
    """The files that the words of a command line name, then those of its list.

    ``directory`` is called with each directory that a word names, before its files.

    Raises:
        NotMounted: the daemon of a mount is gone while its directories or the list are read.
        UsageError: the list cannot be one.
    """
    finder = FileFinder(HeadLengths(), complaints, lambda _: False)
    for path in named(words):
        yield from _argument(finder, path, complaints, recursive=recursive, directory=directory)
    for found in finder.listed(listed(words, null=null)):
        yield found.path


def _argument(
    finder: FileFinder,
    path: bytes,
    complaints: Complaints,
    *,
    recursive: bool,
    directory: Callable[[bytes], object],
) -> Iterator[bytes]:
    try:
        known = finder.arguments([path])
    except NotMounted as error:
        return complaints.unreachable(error)
    for one in known:
        if stat.S_ISDIR(one.status.st_mode) and not recursive:
            complaints.fail(path, "it is a directory; -r takes all files in and below it")
        else:
            if stat.S_ISDIR(one.status.st_mode):
                directory(one.path)
            for found in finder.below([one]):
                yield found.path
