"""What stands before the core: it answers requests from what the core has told it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tierfs.fs.references import CountedReferences, References
from tierfs.metadata.view import NullView, View


class Front(NamedTuple):
    """What the core tells it, and what the core asks it."""

    view: View
    references: References


MakeFront = Callable[[int, int], Front]
"""Makes the front of a volume; descriptors of the directories of its heads and its objects."""


def no_front(_heads: int, _objects: int) -> Front:
    """Nobody: the core is asked everything."""
    return Front(NullView(), CountedReferences())
