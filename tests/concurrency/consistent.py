"""After a crowd, the volume itself: names, link counts, inodes and objects fit together."""

from __future__ import annotations

from tests.fs.consistency import check
from tests.support.mounting import Mount
from tests.support.places import Place
from tests.support.proc import run
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


def check_nothing_is_left(mount: Mount) -> None:
    """Remove everything: no object may be left when the daemon has ended."""
    run(["find", mount.path, "-mindepth", "1", "-delete"])
    mount.unmount()
    objects = [*mount.flash.glob("heads/*/*/*"), *mount.disk.glob("objects/*/*/*")]
    assert not objects, f"objects of removed files are left: {objects}"
