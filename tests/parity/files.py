"""What the cases about files share: contents that tell every position, descriptors, children."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

HEAD = 64 * 1024
"""Where a file of the mount passes from flash to disk."""

_CYCLE = 251
"""A prime, so that no two blocks of a pattern are equal."""


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` bytes from which a byte that has moved can be told."""
    cycle = bytes((seed + number * number) % _CYCLE + 1 for number in range(_CYCLE))
    return (cycle * (size // _CYCLE + 1))[:size]


def digest(data: bytes) -> str:
    """The length and a short hash, so that a difference can be read."""
    return f"{len(data)}:{hashlib.blake2b(data, digest_size=6).hexdigest()}"


def content(path: Path) -> str:
    """What the file holds."""
    return digest(path.read_bytes())


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDWR, mode: int = 0o644) -> Iterator[int]:
    """A descriptor, closed at the end."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def kind(mode: int) -> str:
    """The letter that ls(1) shows for the type."""
    return stat.filemode(mode)[0]


def ending_of(function: Callable[[], int]) -> str:
    """Run `function` in a forked child: "exit N" with its result, or the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        status = 255
        with contextlib.suppress(BaseException):
            status = function()
        os._exit(status)
    _, ended = os.waitpid(pid, 0)
    if os.WIFSIGNALED(ended):
        return signal.Signals(os.WTERMSIG(ended)).name
    return f"exit {os.WEXITSTATUS(ended)}"
