"""What every test runs under: the guards, described in docs/developing/testing.md."""

from __future__ import annotations

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first: else one process may still be busy with one when all else is done."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def forked_daemons() -> Iterator[None]:
    """Let the mounts of the tests be forked from a process that has imported the daemon."""
    with prestarted.starting():
        yield
