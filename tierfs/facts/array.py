"""Arrays of NumPy: .npy, and .npz, which is a zip archive of them."""

from __future__ import annotations

import zipfile
from typing import IO, Final

from numpy.lib import format as npy

from tierfs.facts.extractor import Extractor, Found, NotReadable
from tierfs.facts.source import Source

_ZIP: Final = b"PK\x03\x04"

KEYS: Final = {
    "array.format": "npy or npz",
    "array.shape": "such as 3x224x224; of a scalar empty",
    "array.dimensions": "how many",
    "array.dtype": "such as float32",
    "array.arrays": "of npz: how many there are",
    "array.names": "of npz: their names, with commas between",
}


def recognises(head: bytes) -> bool:
    """Whether these are the first bytes of an array, or of an archive whose first member is one."""
    if head.startswith(npy.MAGIC_PREFIX):
        return True
    length = int.from_bytes(head[26:28], "little")
    return head.startswith(_ZIP) and head[30 : 30 + length].endswith(b".npy")


def extract(source: Source) -> Found:
    """The facts.

    Raises:
        NotReadable: the header is wrong.
    """
    try:
        if source.head.startswith(npy.MAGIC_PREFIX):
            return {"array.format": "npy", **_of_array(source.file())}
        with zipfile.ZipFile(source.file()) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            facts: dict[str, int | float | str | None] = {
                "array.format": "npz",
                "array.arrays": len(names),
                "array.names": ",".join(sorted(names)),
            }
            if len(names) == 1:
                with archive.open(archive.namelist()[0]) as member:
                    facts.update(_of_array(member))
            return facts
    except (ValueError, zipfile.BadZipFile) as error:
        raise NotReadable(str(error)) from error


def _of_array(file: IO[bytes]) -> dict[str, int | float | str | None]:
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in readers:
        # The third differs from the second by an encoding that only names of fields need.
        raise NotReadable(f"a header of version {version[0]}.{version[1]}")
    shape, _, dtype = readers[version](file)
    return {
        "array.shape": "x".join(str(length) for length in shape),
        "array.dimensions": len(shape),
        "array.dtype": str(dtype),
    }


EXTRACTOR: Final = Extractor("array", 1, KEYS, recognises, extract)
