"""The fixtures that the tests of this directory use."""

from tests.support.fixtures import make_mount, mounted, scratch, shared_volume

__all__ = ["make_mount", "mounted", "scratch", "shared_volume"]
