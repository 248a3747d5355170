"""The fixtures that the tests of this directory use."""

import pytest

from tests.cli.manual import fake, large, small, tree
from tests.support import prestarted
from tests.support.fixtures import make_mount, scratch

__all__ = ["fake", "large", "make_mount", "scratch", "small", "tree"]


@pytest.fixture(autouse=True)
def started_as_by_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork no daemon and no command: here the programs are what is tested."""
    monkeypatch.setattr(prestarted, "active", None)
