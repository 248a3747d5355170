"""What every test runs under: the guards, described in docs/developing/testing.md."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support import prestarted

pytest_plugins = [
    "pytester",
    "tests.guards.mounts",
    "tests.guards.descriptors",
    "tests.guards.logs",
    "tests.guards.fuse",
]


# A shell that runs the suite in the background lets it ignore SIGINT, and the programs it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first: else one process may still be busy with one when all else is done."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def forked_daemons() -> Iterator[None]:
    """Let the mounts of the tests be forked from a process that has imported the daemon."""
    with prestarted.starting():
        yield
