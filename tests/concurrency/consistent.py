"""After a crowd, the volume itself: names, link counts, inodes and objects fit together."""

from __future__ import annotations

from tests.core.consistency import check
from tests.support.mounting import Mount
from tests.support.places import Place
from tests.support.volumes import LooseVolume
from tierfs.policy.volume_file import load_volume_file


def check_volume(place: Place) -> None:
    """Look at the unmounted volume, and mount it again; a native directory has nothing to see."""
    if not isinstance(place, Mount):
        return
    place.unmount()
    volume = LooseVolume(load_volume_file(place.volume_file))
    try:
        volume.open()
        check(volume, trimmed=True)
    finally:
        volume.close()
    place.mount()
