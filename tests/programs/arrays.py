"""A program that writes arrays with h5py or zarr, and one that reads and verifies them.

`arrays.py write|verify hdf5|zarr FOLDER` ends with an AssertionError when an element differs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import zarr

SHAPE = (48, 256, 192)
"""A stack of images, 4.5 MiB of 16 bits each; chunks and heads do not line up."""

CHUNKS = (5, 100, 96)
PLANES = 12
"""Planes that are written or read at once."""

LATER = slice(17, 31)
"""Planes that are written a second time, over what was there."""

Array = npt.NDArray[np.uint16]


def images(seed: int) -> Array:
    """What must be in the file: noise of 8 bits on a slope, so that it compresses somewhat."""
    noise = np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint16)
    return noise + np.arange(SHAPE[0], dtype=np.uint16)[:, None, None]


def expected() -> Array:
    """The images after both rounds of writing."""
    whole = images(1)
    whole[LATER] = images(2)[LATER]
    return whole


def write(dataset: h5py.Dataset | zarr.Array[Any]) -> None:
    """Write the images in pieces, then some of them again."""
    first, second = images(1), images(2)
    for start in range(0, SHAPE[0], PLANES):
        dataset[start : start + PLANES] = first[start : start + PLANES]
    dataset[LATER] = second[LATER]


def verify(dataset: h5py.Dataset | zarr.Array[Any]) -> None:
    """Read the images in pieces, and crops at random, as a training job does."""
    whole = expected()
    for start in range(0, SHAPE[0], PLANES):
        np.testing.assert_array_equal(
            dataset[start : start + PLANES], whole[start : start + PLANES]
        )
    chance = np.random.default_rng(3)
    for _ in range(20):
        plane, top, left = chance.integers(0, (SHAPE[0], SHAPE[1] - 64, SHAPE[2] - 64))
        crop = np.s_[plane, top : top + 64, left : left + 64]
        np.testing.assert_array_equal(dataset[crop], whole[crop])


def write_hdf5(folder: Path) -> None:
    """One file with a compressed, a contiguous and a growing dataset; it locks its file."""
    with h5py.File(folder / "images.h5", "w") as file:
        packed = {"chunks": CHUNKS, "compression": "gzip", "compression_opts": 1, "shuffle": True}
        write(file.create_dataset("packed", SHAPE, "u2", fletcher32=True, **packed))
        write(file.create_dataset("plain", SHAPE, "u2"))
        growing = file.create_dataset("growing", (0,), "u2", maxshape=(None,), chunks=(1000,))
        for value in expected().reshape(-1, 9216)[:100]:
            growing.resize(growing.shape[0] + value.size, axis=0)
            growing[-value.size :] = value
            file.flush()
        file["packed"].attrs["scanner"] = "x" * 1000


def verify_hdf5(folder: Path) -> None:
    """Read what `write_hdf5` wrote, then once more through another driver of HDF5."""
    for driver in (None, "stdio"):
        with h5py.File(folder / "images.h5", "r", driver=driver) as file:
            verify(file["packed"])
            verify(file["plain"])
            grown = expected().reshape(-1, 9216)[:100]
            np.testing.assert_array_equal(file["growing"][:], grown.reshape(-1))
            assert file["packed"].attrs["scanner"] == "x" * 1000


def write_zarr(folder: Path) -> None:
    """A group of two arrays: a file for each chunk, and a few large files of many chunks each."""
    group = zarr.open_group(folder / "images.zarr", mode="w")
    write(group.create_array("chunks", shape=SHAPE, dtype="u2", chunks=CHUNKS))
    shards = (20, 200, 192)
    write(group.create_array("shards", shape=SHAPE, dtype="u2", chunks=CHUNKS, shards=shards))
    group.attrs["scanner"] = "x" * 1000


def verify_zarr(folder: Path) -> None:
    """Read what `write_zarr` wrote."""
    group = zarr.open_group(folder / "images.zarr", mode="r")
    for name in ("chunks", "shards"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        verify(array)
    assert group.attrs["scanner"] == "x" * 1000


DEEDS: dict[tuple[str, str], Callable[[Path], None]] = {
    ("write", "hdf5"): write_hdf5,
    ("verify", "hdf5"): verify_hdf5,
    ("write", "zarr"): write_zarr,
    ("verify", "zarr"): verify_zarr,
}


if __name__ == "__main__":
    DEEDS[sys.argv[1], sys.argv[2]](Path(sys.argv[3]))
