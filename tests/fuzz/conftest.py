"""The fixtures that the tests of this directory use."""

from tests.support.fixtures import mounted, shared_volume
from tests.support.volumes import home, make_volume

__all__ = ["home", "make_volume", "mounted", "shared_volume"]
