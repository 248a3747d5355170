from tests.support.volumes import home, make_volume, small, volume

__all__ = ["home", "make_volume", "small", "volume"]
