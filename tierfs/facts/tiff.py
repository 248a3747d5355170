"""TIFF and OME-TIFF, by tifffile: the first image, and what OME says of channels and planes."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Final

import tifffile

from tierfs.facts.extractor import Extractor, Found, NotReadable
from tierfs.facts.source import Source

_STARTS: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

KEYS: Final = {
    "image.format": "TIFF",
    "image.width": "pixels of the first image",
    "image.height": "pixels of the first image",
    "image.bits": "bits of a sample of the first image",
    "image.channels": "samples of a pixel of the first image; of OME-TIFF channels (SizeC)",
    "tiff.pages": "images in the file",
    "tiff.compression": "of the first image, as tifffile calls it",
    "tiff.ome": "1: it has OME metadata; else 0",
    "tiff.planes": "of OME-TIFF: SizeZ, focal planes",
    "tiff.timepoints": "of OME-TIFF: SizeT",
    "tiff.physical_size_x": "of OME-TIFF: micrometres of a pixel",
    "tiff.physical_size_y": "of OME-TIFF: micrometres of a pixel",
    "tiff.physical_size_z": "of OME-TIFF: micrometres between two focal planes",
}

_MICROMETRES: Final = {
    **dict.fromkeys(("\u00b5m", "\u03bcm", "um"), 1.0),
    "pm": 1e-6,
    "\u00c5": 1e-4,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}


def recognises(head: bytes) -> bool:
    """Whether these are the first bytes of a TIFF file."""
    return head.startswith(_STARTS)


def extract(source: Source) -> Found:
    """The facts.

    Raises:
        NotReadable: the header is wrong.
    """
    try:
        with tifffile.TiffFile(source.file()) as file:
            page = file.pages.first
            facts: dict[str, int | float | str | None] = {
                "image.format": "TIFF",
                "image.width": _length_of(page.imagewidth),
                "image.height": _length_of(page.imagelength),
                "image.bits": _single(page.bitspersample),
                "image.channels": int(page.samplesperpixel),
                "tiff.pages": len(file.pages),
                "tiff.compression": getattr(page.compression, "name", str(page.compression)),
                "tiff.ome": int(file.is_ome),
            }
            if file.is_ome and file.ome_metadata:
                facts.update(_of_ome(file.ome_metadata))
            return facts
    except tifffile.TiffFileError as error:
        raise NotReadable(str(error)) from error


def _length_of(side: object) -> int:
    """Pixels of a side.

    Raises:
        NotReadable: the tag has another type, or it is none.
    """
    if not isinstance(side, int) or side <= 0:
        raise NotReadable("no width or height")
    return side


def _single(bits: object) -> int | None:
    """The bits of a sample, where all have as many."""
    if isinstance(bits, tuple):
        return int(bits[0]) if len(set(bits)) == 1 else None
    return int(bits) if isinstance(bits, int) else None


def _of_ome(text: str) -> dict[str, int | float | None]:
    """What the first image of OME-XML says; nothing where there is none."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - expat refuses entities that grow, memory is limited
    except ET.ParseError:
        return {}
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return {}
    found: dict[str, int | float | None] = {
        "image.channels": _count(pixels.get("SizeC")),
        "tiff.planes": _count(pixels.get("SizeZ")),
        "tiff.timepoints": _count(pixels.get("SizeT")),
    }
    for axis in "XYZ":
        size = _length(
            pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "\u00b5m")
        )
        found[f"tiff.physical_size_{axis.lower()}"] = size
    return found


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _length(text: str | None, unit: str) -> float | None:
    """In micrometres."""
    try:
        length = float(text) if text is not None else math.nan
    except ValueError:
        return None
    scale = _MICROMETRES.get(unit)
    return length * scale if scale is not None and math.isfinite(length) and length > 0 else None


EXTRACTOR: Final = Extractor("tiff", 2, KEYS, recognises, extract)
