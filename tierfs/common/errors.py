"""Every error tierfs raises on purpose, and the two numbers the outside sees.

    TierfsError                 shown to a person, ends a command with its ``exit_code``
    ├── UsageError              a wrong command line or mount option
    ├── ConfigError             a bad YAML file
    ├── VolumeRefused           directories that are not, or not yet, this volume
    │   └── VolumeEnded         the volume was given up
    ├── VolumeBusy              another daemon holds the volume
    ├── MountFailed             the kernel or the mountpoint said no
    ├── NotMounted              no daemon answers where one was expected
    ├── DamageFound             a comparison or check found wrong bytes
    └── FsError                 the failure of one file operation, carries an errno
        ├── Damage              an object is missing or short: EIO for that file
        │   └── ChangedOutside  its owner changed the original of an adopted file
        └── IndexFailed         SQLite could not do it: ENOSPC, EROFS, EIO and others
            └── IndexDamaged    what the index holds is wrong, not its device

``errno_of`` is the only place that turns an exception into the errno of a reply, and ``printable``
the only one that makes text of others safe to print: names of files, arguments, answers of a
daemon. A terminal obeys escape sequences, and a log is read by lines: neither may come from a name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from enum import IntEnum, unique
from pathlib import Path
from typing import Self

PASSED_ON = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EROFS, errno.EINTR}
)
"""What a backing directory may answer that means the same to the application above it."""


@unique
class ExitCode(IntEnum):
    """What a ``tierfs`` command ends with; documented in docs/reference/exit-codes.md."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    VOLUME_REFUSED = 3
    VOLUME_BUSY = 4
    MOUNT_FAILED = 5
    NOT_MOUNTED = 6
    DAMAGE = 7
    NO_ROOM = 8


class TierfsError(Exception):
    """An error with a message for people: what happened, to what, what to do.

    It is shown on one line, with control characters as escapes: names of files and arguments stand
    in it. Only ``of_lines`` makes one of several lines.
    """

    exit_code = ExitCode.UNEXPECTED
    several_lines = False

    @classmethod
    def of_lines(cls, lines: Iterable[str]) -> Self:
        """An error whose message has several lines."""
        error = cls("\n".join(map(printable, lines)))
        error.several_lines = True
        return error

    def __str__(self) -> str:
        text = super().__str__()
        return printable_lines(text) if self.several_lines else printable(text)


class UsageError(TierfsError):
    """The command line or a mount option makes no sense."""

    exit_code = ExitCode.USAGE


class ConfigError(TierfsError):
    """A YAML file is wrong; the message has a line ``FILE:LINE:COLUMN: ...`` for each problem."""

    exit_code = ExitCode.USAGE


class VolumeRefused(TierfsError):
    """A directory is foreign, not empty, of another volume or of a newer format."""

    exit_code = ExitCode.VOLUME_REFUSED


class VolumeEnded(VolumeRefused):
    """The volume was given up: its files are in ``target``."""

    def __init__(self, message: str, target: str) -> None:
        super().__init__(message)
        self.target = target


class VolumeBusy(TierfsError):
    """Another daemon has the volume open."""

    exit_code = ExitCode.VOLUME_BUSY


class MountFailed(TierfsError):
    """The mountpoint cannot be used, or the kernel refused the mount."""

    exit_code = ExitCode.MOUNT_FAILED


class NotMounted(TierfsError):
    """The path is not a tierfs mount, or its daemon does not answer."""

    exit_code = ExitCode.NOT_MOUNTED


class DamageFound(TierfsError):
    """Bytes or attributes differ from what they must be."""

    exit_code = ExitCode.DAMAGE


class FsError(TierfsError):
    """One file operation failed with ``errno``, as its man page names it."""

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(detail or os.strerror(number))
        self.errno = number

    def __reduce__(self) -> tuple[type[FsError], tuple[int, str]]:
        """For another process."""
        return type(self), (self.errno, str(self))


class Damage(FsError):
    """An object is missing or shorter than the index says: EIO, never zeros."""

    def __init__(self, ino: int, detail: str) -> None:
        super().__init__(errno.EIO, f"inode {ino}: {detail}")
        self.ino = ino
        self._detail = detail

    def __reduce__(self) -> tuple[type[FsError], tuple[int, str]]:
        """As `FsError`."""
        return type(self), (self.ino, self._detail)


class ChangedOutside(Damage):
    """The original of an adopted file has another size or mtime than when it was adopted: EIO."""


class IndexFailed(FsError):
    """SQLite failed; the errno is that of ``failure_of`` in ``tierfs/metadata/sqlite.py``."""


class IndexDamaged(IndexFailed):
    """SQLite finds the index malformed, and its device can read all of it."""


def errno_of(exc: BaseException) -> int:
    """The errno with which a request that raised ``exc`` is answered.

    An errno from a backing directory is passed on only where it means the same above;
    ENOENT from an object store, say, is damage below, not a missing name above.
    """
    if isinstance(exc, FsError):
        return exc.errno
    if isinstance(exc, OSError) and exc.errno in PASSED_ON:
        return exc.errno
    return errno.EIO


def printable(path: Path | str | bytes) -> str:
    """A path for people, on one line; bytes that are not UTF-8 and controls are escaped."""
    text = path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else os.fspath(path)
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """Text for people that may have several lines; the rest as ``printable``."""
    return "\n".join(map(printable, text.split("\n")))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{os.fsencode(character)[0]:02x}"
    return character.encode("unicode_escape").decode("ascii")
