from tests.support.fixtures import make_mount, mounted, scratch, shared_volume
from tests.support.volumes import home, make_volume, small

__all__ = ["home", "make_mount", "make_volume", "mounted", "scratch", "shared_volume", "small"]
