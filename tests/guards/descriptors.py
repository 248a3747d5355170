"""The descriptor guard: a file, socket or pipe that a test opened and left open fails the test."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

FDS = Path("/proc/self/fd")


def open_descriptors() -> dict[int, str]:
    """Each open descriptor of this process and what it is open on.

    The link is read, never the file: a stat of a file on a mount whose daemon is gone may hang.
    """
    found = {}
    for link in FDS.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that listed the directory
            found[int(link.name)] = str(link.readlink()).removesuffix(" (deleted)")
    return found


def opened_since(before: dict[int, str]) -> dict[int, str]:
    """Descriptors open now and not in ``before``, after garbage had its chance to be closed."""
    if leaked := dict(open_descriptors().items() - before.items()):
        gc.collect()
        leaked = dict(open_descriptors().items() - before.items())
    return leaked


@pytest.fixture(autouse=True)
def descriptor_guard() -> Iterator[None]:
    """Compare the open descriptors before and after; what wider fixtures hold is in both."""
    before = open_descriptors()
    yield
    if leaked := opened_since(before):
        lines = [f"descriptor {number}: {link}" for number, link in sorted(leaked.items())]
        pytest.fail("\n".join(["left open by this test:", *lines]), pytrace=False)
