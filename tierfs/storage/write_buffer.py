"""The body of a WRITE: bytes in memory, or in a pipe of the router."""

from __future__ import annotations

from typing import Final, Protocol


class PipedBuffer(Protocol):
    """Bytes that are in a pipe (``tierfs/native/src/splice.h``); valid during its upcall.

    Who looks at them has them taken into memory (buffer protocol).
    """

    def __len__(self) -> int:
        """How many they are."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """They are in memory from now on.

        Raises:
            OSError: EIO, they are lost.
        """

    def fetch(self) -> None:
        """Take them into memory, from the file where ``splice`` has put them.

        To be called under the inode's lock, before others may change that file, if the bytes are
        needed once more. Raises as ``__buffer__`` does.
        """

    def splice(self, fd: int, offset: int) -> int:
        """Move them to an offset of a file, which is open for reading and writing.

        Returns how many were moved. Where it is less than all, and after an error, all are in
        memory; 0: they were so before, or the filesystem cannot.

        Raises:
            OSError: the file could not be written to, or the bytes are lost (EIO).
        """


Buffer = bytes | memoryview | PipedBuffer
"""What a WRITE brings."""

IN_MEMORY: Final = (bytes, memoryview)
"""The types of what is no ``PipedBuffer``."""
