"""The index as the engine sees it: read beside the writer, settled by it."""

from __future__ import annotations

from collections.abc import Sequence

from tierfs.index.index import Index
from tierfs.index.survey import Survey
from tierfs.index.wishes import Pin, Request


class IndexCatalog(Survey):
    """What `tierfs.tiering.ports.Catalog` asks for."""

    def __init__(self, index: Index) -> None:
        super().__init__(index.path, read_only=index.read_only, prepare=index.store_noted)
        self._index = index

    def settle(self, requests: Sequence[Request], ended: Sequence[Pin]) -> None:
        """Remove requests that are done with, and pins that have ended; what is newer stays."""
        with self._index.transaction():
            for request in requests:
                self._index.wishes.settle(request)
            for pin in ended:
                if self._index.wishes.pin_of(pin.ino) == pin:
                    self._index.wishes.unpin(pin.ino)
