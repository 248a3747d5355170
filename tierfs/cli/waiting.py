"""That something is under way whose end is not known: on standard error, and only on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Show after a second that something is under way, and for how long."""
    if not sys.stderr.isatty():
        yield
        return
    # What draws it takes a third as long to load as all else.
    with import_module("tierfs.cli.progress").spinner(what):
        yield
