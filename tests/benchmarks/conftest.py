"""The fixtures that the tests of this directory use."""

from tests.support.fixtures import make_mount, scratch

__all__ = ["make_mount", "scratch"]
