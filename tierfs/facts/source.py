"""The bytes of one file, as an extractor sees them: the head, and further ranges on request."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import Final

BLOCK: Final = 64 * 1024
"""Bytes that are asked for at a time: a range of the file that begins at a multiple of it."""


class OutOfBytes(OSError):
    """The rest of the file is not read for facts."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EFBIG, message)


class Source:
    """One file. ``head`` are its first bytes, or all of them; ``size`` in bytes."""

    def __init__(self, size: int, head: bytes, ask: Callable[[int, int], bytes]) -> None:
        """``ask`` gets the bytes at an offset, of a length; it raises `OutOfBytes`."""
        self.size = size
        self.head = head
        self._ask = ask
        self._blocks: dict[int, bytes] = {}

    @property
    def whole(self) -> bool:
        """Whether the head is the whole file."""
        return len(self.head) >= self.size

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range, as far as the file reaches.

        Raises:
            OutOfBytes: more of it is read than may be.
        """
        end = min(offset + length, self.size)
        if end <= len(self.head):
            return self.head[offset:end]
        parts = []
        while offset < end:
            start = offset - offset % BLOCK
            part = self._block(start)[offset - start : end - start]
            if not part:
                break
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def tail(self, length: int) -> bytes:
        """The last bytes of the file.

        Raises:
            OutOfBytes: as `read`.
        """
        start = max(0, self.size - length)
        return self.read(start, self.size - start)

    def file(self) -> io.BufferedReader:
        """The same as a file that is open to be read."""
        return io.BufferedReader(_File(self), 8192)

    def _block(self, start: int) -> bytes:
        block = self.head[start : start + BLOCK]
        if len(block) == min(BLOCK, self.size - start):
            return block
        if start not in self._blocks:
            self._blocks[start] = self._ask(start, min(BLOCK, self.size - start))
        return self._blocks[start]


class _File(io.RawIOBase):
    """A `Source` with a position."""

    name = ""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "before the beginning of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
