"""What stands before the core: it answers requests from what the core has told it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tierfs.core.references import CountedReferences, References
from tierfs.index.view import NullView, View


class Front(NamedTuple):
    """What the core tells it, and what the core asks it."""

    view: View
    references: References


MakeFront = Callable[[Path, Path], Front]
"""Makes the front of a volume whose heads and objects are in these two directories."""


def no_front(_heads: Path, _objects: Path) -> Front:
    """Nobody: the core is asked everything."""
    return Front(NullView(), CountedReferences())
