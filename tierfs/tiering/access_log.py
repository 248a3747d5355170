"""An access log: which file was read or written when, with the facts of the file.

A line for each second and file that was used in it, its parts separated by blanks::

    SECONDS INODE BYTES [xREADS] [w]

``SECONDS`` is a decimal number (since the epoch in a log that a mount recorded); ``INODE`` and
``BYTES`` are positive whole numbers; ``x3`` says that there were three reads, 1 without it; ``w``
marks a write, whose ``BYTES`` are the size of the file then. Empty lines and what follows a ``#``
are left out. Besides, a mount writes lines that begin with a word::

    log 1 head=65536 flash=107374182400
    file INODE size=81920 mtime=1732311111.5 uid=1000 gid=100 head=65536 path=/a xattr:user.x=hot
    gone INODE

``log`` begins each file: the version of the format, the head of the volume and the capacity of the
flash filesystem, in bytes. ``file`` tells the facts of a file, before its first use and after
changes: ``head`` is what flash holds of it, ``path`` stands once for each name. ``gone`` says that
it was deleted. In names and values bytes other than letters, digits and plain punctuation are
written as in URLs: ``%20``.

A mount keeps a log in two parts, ``NAME.1`` with what is older and ``NAME``
(`tierfs.tiering.access_recorder`); the name of the second stands for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote_from_bytes, unquote_to_bytes

from tierfs.common.errors import UsageError, printable
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import SECOND

VERSION: Final = 1
LONGEST: Final = 32 * 1024
"""Bytes of a line, at most: a path of PATH_MAX (4096) bytes, each written as three, and more."""

TOLD: Final = 10
"""Damaged lines that are reported one by one; the rest is counted."""

_SHOWN: Final = 40
"""Bytes of a damaged line that are reported."""

_MILLISECOND: Final = SECOND // 1000
_COMMENT: Final = b"#"
_LARGEST_INODE: Final = 2**63 - 1
"""SQLite's, and so the index's."""
_NO_ACCESS: Final = (
    "is not an access; write SECONDS INODE BYTES, then w for a write, such as: 12.250 4711 65536"
)
_PLAIN: Final = "/!$&'()*+,:;@[]{}~^"
_USE: Final = re.compile(
    rb"([0-9]{1,12})(?:\.([0-9]{1,9}))?\s+([0-9]{1,19})\s+([0-9]{1,19})(?:\s+x([0-9]{1,9}))?(\s+w)?"
)
_WORDS: Final = re.compile(rb"(log|file|gone)\s+([0-9]{1,19})((?:\s+[!-<>-~]+=[!-~]*)*)")
_TIME: Final = re.compile(rb"-?[0-9]{1,12}(?:\.[0-9]{1,9})?")
_NUMBERS: Final = ("size", "uid", "gid", "head")


class Use(NamedTuple):
    """``reads`` reads of a file, ``size`` bytes together, at ``time`` (nanoseconds).

    Or a ``write``: then the file has ``size`` bytes.
    """

    time: int
    ino: int
    size: int
    reads: int = 1
    write: bool = False


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a policy asks about a file; ``head`` bytes of it are on flash; ``modified`` in ns."""

    ino: int
    size: int
    modified: int
    uid: int
    gid: int
    head: int = 0
    paths: tuple[bytes, ...] = ()
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class Gone(NamedTuple):
    """A file was deleted."""

    ino: int


class Beginning(NamedTuple):
    """The first line of a recorded log: bytes of the volume's head and of flash, 0: unknown."""

    version: int
    head: int
    flash: int


Line: TypeAlias = Use | FileFacts | Gone | Beginning


class BadLine(ValueError):
    """A line that is not of an access log; the message says what it should be."""


def parse(line: bytes) -> Line | None:
    """Parse a line; None: it is empty.

    Raises:
        BadLine: it is damaged.
    """
    text = line.partition(_COMMENT)[0].strip()
    if not text:
        return None
    match = _USE.fullmatch(text)
    if match is not None:
        return _use(match)
    match = _WORDS.fullmatch(text)
    if match is None:
        raise BadLine(_NO_ACCESS)
    word, number, rest = match.groups()
    pairs = [(key, value) for key, _, value in (pair.partition(b"=") for pair in rest.split())]
    if word == b"log":
        known = dict(pairs)
        head, flash = (_number(known.get(name, b"0")) for name in (b"head", b"flash"))
        return Beginning(int(number), head, flash)
    if not 0 < int(number) <= _LARGEST_INODE:
        raise BadLine("is out of range: an inode number is 1 or more")
    return Gone(int(number)) if word == b"gone" else _facts(int(number), pairs)


def use_line(use: Use) -> bytes:
    """A line with its end; the time is cut to milliseconds."""
    seconds, rest = divmod(use.time, SECOND)
    fraction = f".{rest // _MILLISECOND:03}" if rest >= _MILLISECOND else ""
    reads = f" x{use.reads}" if use.reads != 1 and not use.write else ""
    return f"{seconds}{fraction} {use.ino} {use.size}{reads}{' w' if use.write else ''}\n".encode()


def file_line(facts: FileFacts) -> bytes:
    """A line with its end. What would make it too long is left out, attributes first."""
    seconds, rest = divmod(abs(facts.modified), SECOND)
    sign = "-" if facts.modified < 0 else ""
    words = [
        f"file {facts.ino} size={facts.size} mtime={sign}{seconds}.{rest:09}",
        f"uid={facts.uid} gid={facts.gid} head={facts.head}",
        *(f"path={_quoted(path)}" for path in facts.paths),
        *(f"xattr:{_quoted(name)}={_quoted(value)}" for name, value in facts.xattrs),
    ]
    length = 0
    for count, word in enumerate(words):
        length += len(word) + 1
        if length > LONGEST:
            return (" ".join(words[:count]) + "\n").encode()
    return (" ".join(words) + "\n").encode()


def gone_line(ino: int) -> bytes:
    """A line with its end."""
    return f"gone {ino}\n".encode()


def beginning_line(head: int, flash: int) -> bytes:
    """A line with its end."""
    return f"log {VERSION} head={head} flash={flash}\n".encode()


def older(path: Path) -> Path:
    """The part with what is older."""
    return path.with_name(f"{path.name}.1")


class Damaged(NamedTuple):
    """A line that is not of an access log."""

    path: Path
    line: int
    text: bytes
    what: str

    def __str__(self) -> str:
        return f'{printable(self.path)}:{self.line}:1: "{printable(self.text)}" {self.what}'


class Recording:
    """The lines of a log, read one by one each time it is gone through.

    Damaged lines are passed over: ``damaged`` has the first of them, ``damaged_count`` counts all.
    """

    def __init__(self, path: Path) -> None:
        self.parts = [part for part in (older(path), path) if part == path or part.exists()]
        self.damaged: list[Damaged] = []
        self.damaged_count = 0

    def __iter__(self) -> Iterator[Line]:
        """Every line, the oldest first.

        Raises:
            UsageError: a part is a pipe, cannot be read, or is of a newer version.
        """
        self.damaged, self.damaged_count = [], 0
        for part in self.parts:
            if part.is_fifo():
                raise UsageError(f"{part} is a pipe, and a log is read more than once; name a file")
            try:
                yield from self._lines(part)
            except OSError as error:
                raise UsageError(
                    f"{part} cannot be read: {error.strerror}; name an access log"
                ) from None

    def _lines(self, part: Path) -> Iterator[Line]:
        number = 0
        with part.open("rb") as file:
            while text := file.readline(2 * LONGEST):
                number += 1
                try:
                    line = parse(text)
                except BadLine as error:
                    self.damaged_count += 1
                    if len(self.damaged) < TOLD:
                        told = text.strip()[:_SHOWN]
                        self.damaged.append(Damaged(part, number, told, str(error)))
                    continue
                if isinstance(line, Beginning) and line.version != VERSION:
                    raise UsageError(
                        f"{part}:{number}:1: the log is of version {line.version}; this tierfs"
                        f" reads version {VERSION}; use the one that recorded it"
                    )
                if line is not None:
                    yield line


def _use(match: re.Match[bytes]) -> Use:
    seconds, fraction, ino, size, reads, write = match.groups()
    use = Use(
        int(seconds) * SECOND + (int(fraction.ljust(9, b"0")) if fraction else 0),
        int(ino),
        int(size),
        int(reads) if reads else 1,
        write is not None,
    )
    if not (0 < use.ino <= _LARGEST_INODE and 0 < use.size <= WHOLE_FILE and use.reads):
        raise BadLine(_NO_ACCESS)
    return use


def _facts(ino: int, pairs: list[tuple[bytes, bytes]]) -> FileFacts:
    known = dict(pairs)
    missing = [name for name in (*_NUMBERS, "mtime") if name.encode() not in known]
    if missing:
        raise BadLine(f"lacks {missing[0]}=, as if it was cut off")
    size, uid, gid, head = (_number(known[name.encode()]) for name in _NUMBERS)
    modified = known[b"mtime"]
    if not _TIME.fullmatch(modified):
        raise BadLine("has a time of change that is none")
    return FileFacts(
        ino,
        size,
        int(Decimal(modified.decode("ascii")) * SECOND),
        uid,
        gid,
        head,
        tuple(unquote_to_bytes(value) for key, value in pairs if key == b"path"),
        tuple(
            (unquote_to_bytes(key.removeprefix(b"xattr:")), unquote_to_bytes(value))
            for key, value in pairs
            if key.startswith(b"xattr:")
        ),
    )


def _number(text: bytes) -> int:
    number = int(text) if text.isdigit() and len(text) <= len(str(WHOLE_FILE)) else -1
    if not 0 <= number <= WHOLE_FILE:
        raise BadLine(f"has a number that is none: {text[:20].decode('ascii')!r}")
    return number


def _quoted(name: bytes) -> str:
    return quote_from_bytes(name, safe=_PLAIN)
