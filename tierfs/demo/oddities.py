"""A small tree of what copies and filesystems get wrong: names, sizes, links, modes, times, xattrs.

Everything in it is legal on Linux. What the source filesystem itself refuses (a FIFO, a very
long link, a time before 1970) is left out, because there is nothing to compare with then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tierfs.demo.xattrs import set_xattr

HEAD = 64 * 1024
SIZES = (0, 1, 4095, HEAD - 1, HEAD, HEAD + 1, 2 * HEAD, 1024 * 1024 + 17)
NAMES = (
    b"with several spaces",
    b" starts and ends with a space ",
    b"-rf",
    b"quotes'and\"back\\slash",
    b"new\nline and \t tab",
    b"not UTF-8: \xff\xfe\x80",
    "Grüße-こんにちは-🔬".encode(),
    "combining e\u0301 is not \u00e9".encode(),
    b"x" * 255,
    "é".encode() * 127,
    b"..hidden",
    b"*?[a-z]$HOME;#",
)
MODES = (0o400, 0o444, 0o600, 0o755, 0o4755, 0o2755, 0o6711)
DIRECTORY_MODES = (0o500, 0o700, 0o1777, 0o2770)
SECOND = 1_000_000_000
TIMES_NS = (0, 1, SECOND - 1, -3 * SECOND // 2, 2**31 * SECOND + 5, 4_102_444_800 * SECOND + 999)
"""1970 to the nanosecond, before 1970, past 2038, and the year 2100."""

LINK_TARGETS = (
    b"../sizes/65537",
    b"dangling/target",
    b"/etc/hostname",
    b"..",
    b"not UTF-8 \xff\xfe",
    b"long/" * 800,
)
XATTRS: tuple[dict[str, bytes], ...] = (
    {"user.empty": b""},
    {"user.binary": bytes(range(256))},
    {"user.large": b"v" * 1500, "user.small": b"s"},
    {"user.Zellkörper": "Größe µm".encode()},
    {"user." + "n" * 200: b"long name"},
    {f"user.tag{number:02}": str(number).encode() for number in range(20)},
)
OWNER = (12_345, 54_321)
"""Numbers that no account has; only root can give files away."""

CROWD = 300
DEPTH = 40


def make_oddities(root: Path, *, tag: bool) -> None:
    """Fill the existing directory ``root``; with xattrs when ``tag`` is set. Raises OSError."""
    for name, make in PARTS.items():
        directory = root / name
        directory.mkdir()
        make(directory)
    if tag:
        _make_xattrs(root / "xattrs")
    (root / "names" / "twin-3").hardlink_to(root / "links" / "twin-1")


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _pattern(size: int) -> bytes:
    """Bytes that differ from block to block, so that a wrong block shows."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


def _make_names(directory: Path) -> None:
    for name in NAMES:
        _write(directory / os.fsdecode(name), name)


def _make_sizes(directory: Path) -> None:
    for size in SIZES:
        _write(directory / str(size), _pattern(size))


def _make_sparse(directory: Path) -> None:
    for name, offset in (("hole-then-data", 3 * 1024 * 1024), ("hole-over-head", HEAD + 4096)):
        with (directory / name).open("wb") as file:
            file.seek(offset)
            file.write(_pattern(10_000))
            file.truncate(offset + 1024 * 1024)


def _make_links(directory: Path) -> None:
    for number, target in enumerate(LINK_TARGETS):
        with suppress(OSError):
            (directory / f"symlink-{number}").symlink_to(os.fsdecode(target))
    twin = _write(directory / "twin-1", _pattern(HEAD + 100))
    (directory / "twin-2").hardlink_to(twin)
    _write(directory / "same bytes, no twin", _pattern(HEAD + 100))


def _make_modes(directory: Path) -> None:
    for number, mode in enumerate(MODES):
        path = _write(directory / f"file-{mode:04o}", b"mode")
        if os.geteuid() == 0 and number % 2:
            os.chown(path, *OWNER)
        path.chmod(mode)
    for mode in DIRECTORY_MODES:
        path = directory / f"directory-{mode:04o}"
        path.mkdir()
        path.chmod(mode)


def _make_times(directory: Path) -> None:
    for number, when in enumerate(TIMES_NS):
        path = _write(directory / f"time-{number}", b"time")
        with suppress(OSError):
            os.utime(path, ns=(when, when))


def _make_special(directory: Path) -> None:
    with suppress(OSError):
        os.mkfifo(directory / "fifo", 0o640)
    (directory / "empty directory").mkdir()


def _make_crowd(directory: Path) -> None:
    for number in range(CROWD):
        _write(directory / f"{number:05}", str(number).encode())


def _make_depth(directory: Path) -> None:
    for number in range(DEPTH):
        directory /= f"level-{number}"
        directory.mkdir()
    _write(directory / "deep", b"deep")


def _make_xattrs(directory: Path) -> None:
    directory.mkdir()
    for number, attributes in enumerate(XATTRS):
        path = _write(directory / f"file-{number}", b"xattrs")
        for name, value in attributes.items():
            set_xattr(path, name, value)
    set_xattr(directory, "user.directory", b"has one as well")


PARTS: dict[str, Callable[[Path], None]] = {
    "names": _make_names,
    "sizes": _make_sizes,
    "sparse": _make_sparse,
    "links": _make_links,
    "modes": _make_modes,
    "times": _make_times,
    "special": _make_special,
    "crowd": _make_crowd,
    "depth": _make_depth,
}
