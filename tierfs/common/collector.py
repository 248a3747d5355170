"""Python's collector of reference cycles (`gc`), where there are many objects and no cycle."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def spare_what_is_there() -> None:
    """Never look at the objects made so far again; takes a full collection."""
    gc.collect()
    gc.freeze()


@contextmanager
def no_collector() -> Iterator[None]:
    """Do without it meanwhile: it would go through all that is kept, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
