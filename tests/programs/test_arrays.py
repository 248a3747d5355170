"""Arrays: HDF5's one file, read and written in the middle; zarr's many."""

from __future__ import annotations

import sys

import pytest

from tests.programs import arrays
from tests.support.mounting import HEAD, Mount
from tests.support.places import Place
from tests.support.proc import Argument, ProgramFailed, drop_page_cache, run


def do(deed: str, library: str, place: Place) -> None:
    command: list[Argument] = [sys.executable, arrays.__file__, deed, library, place.path]
    run(command, timeout=110)


@pytest.mark.parametrize("library", ["hdf5", "zarr"])
def test_arrays_are_read_as_written(place: Place, library: str) -> None:
    do("write", library, place)
    do("verify", library, place)
    place.remount()
    drop_page_cache()
    do("verify", library, place)


def test_a_changed_byte_would_be_seen(mounted: Mount) -> None:
    do("write", "hdf5", mounted)
    with (mounted.path / "images.h5").open("r+b") as file:
        file.seek(10 * HEAD)
        file.write(b"not what h5py wrote")
    with pytest.raises(ProgramFailed, match=r"filter returned failure|Arrays are not equal"):
        do("verify", "hdf5", mounted)
