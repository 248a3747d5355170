"""The bytes of one file, where a hole costs nothing."""

from collections.abc import Iterator

CHUNK = 4096
"""Bytes that are stored together."""


class SparseBytes:
    """A file's bytes; everything that was never written reads as zeros."""

    def __init__(self) -> None:
        self.size = 0
        self._chunks: dict[int, bytearray] = {}
        # Where bytes were ever put: those places must read as zeros after a truncation.
        self._touched: set[int] = {0}

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`, fewer at the end."""
        end = min(offset + length, self.size)
        parts = (self._piece(index, start, stop) for index, start, stop in _pieces(offset, end))
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`; writing nothing does not grow the file."""
        done = 0
        for index, start, stop in _pieces(offset, offset + len(data)):
            chunk = self._chunks.setdefault(index, bytearray(CHUNK))
            chunk[start:stop] = data[done : done + stop - start]
            self._touched.add(index)
            done += stop - start
        if data:
            self.size = max(self.size, offset + len(data))

    def truncate(self, size: int) -> None:
        """Cut or grow to `size`; what is cut off is zeros when it comes back."""
        last, keep = divmod(size, CHUNK)
        self._chunks = {index: chunk for index, chunk in self._chunks.items() if index <= last}
        if last in self._chunks:
            self._chunks[last][keep:] = bytes(CHUNK - keep)
        self.size = size

    def windows(self) -> list[tuple[int, int]]:
        """Ranges `(offset, length)` that show every byte that could be other than it should.

        They cover what was ever written, one chunk around it, and the end of the file, so that
        comparing a file with a hole of gigabytes costs little.
        """
        around = {near for index in self._touched for near in (index - 1, index, index + 1)}
        around.add(self.size // CHUNK)
        return list(_runs(sorted(index for index in around if 0 <= index * CHUNK <= self.size)))

    def _piece(self, index: int, start: int, stop: int) -> bytes:
        chunk = self._chunks.get(index)
        return bytes(stop - start) if chunk is None else bytes(chunk[start:stop])


def _pieces(offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The chunks of `[offset, end)` as `(index, start, stop)` within each."""
    while offset < end:
        index, start = divmod(offset, CHUNK)
        stop = min(CHUNK, start + end - offset)
        yield index, start, stop
        offset += stop - start


def _runs(indexes: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring chunks joined to ranges `(offset, length)`."""
    start = 0
    for place, index in enumerate(indexes):
        if place + 1 == len(indexes) or indexes[place + 1] != index + 1:
            yield indexes[start] * CHUNK, (place + 1 - start) * CHUNK
            start = place + 1
