from tests.support.volumes import home, make_volume, small

__all__ = ["home", "make_volume", "small"]
