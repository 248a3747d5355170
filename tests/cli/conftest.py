"""The fixtures that the tests of this directory use."""

from tests.cli.manual import fake, large, small, tree
from tests.support.fixtures import make_mount, scratch

__all__ = ["fake", "large", "make_mount", "scratch", "small", "tree"]
