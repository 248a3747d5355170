"""What stands before the core: it answers requests from what the core has told it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tierfs.fs.references import CountedReferences, References
from tierfs.metadata.cache_updater import MetadataCache, NoMetadataCache


class Front(NamedTuple):
    """What the core tells it, and what the core asks it."""

    view: MetadataCache
    references: References


MakeFront = Callable[[int, int], Front]
"""Makes the front of a volume; descriptors of the directories of its heads and its objects."""


def no_front(_heads: int, _objects: int) -> Front:
    """Nobody: the core is asked everything."""
    return Front(NoMetadataCache(), CountedReferences())
