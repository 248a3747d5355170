"""Microscopy-like images: 8-bit greyscale TIFF files of 4 KiB to 4 MiB, the same on every run.

The pixels are speckle (intensities of an exponential distribution, as in coherent imaging) with
brighter round cells, so that they look like something in a viewer and do not compress away.
The file layout is TIFF 6.0, section 4, "Greyscale Images": header, one directory, one strip.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tierfs.demo.ui import Advance
from tierfs.demo.xattrs import set_xattr

SMALLEST = 4 * 1024
LARGEST = 4 * 1024 * 1024
SPAN = LARGEST / SMALLEST
PIXELS_AT = 512
"""Where the pixels start: the directory and its values fit well below."""

SHORT, LONG, RATIONAL, ASCII = 3, 4, 5, 2
DESCRIPTION_AT, RESOLUTION_AT = 256, 248
DESCRIPTION = b"tierfs demo: synthetic speckle with cells\0"
CELL_BYTES = 64 * 1024
"""One bright cell for so many bytes of image."""

IMAGES_A_WELL = 10
TAGGED_EVERY = 3
BASE_TIME_NS = 1_700_000_000_123_456_789


@dataclass(frozen=True, slots=True)
class Image:
    """One image to generate: its path below the root, its size in bytes, its random seed."""

    path: str
    size: int
    number: int


def image_sizes(files: int, total: int) -> list[int]:
    """``files`` sizes from SMALLEST to LARGEST whose sum is near ``total``, as far as possible.

    Sizes are spread evenly on a logarithmic scale and then bent by one exponent, so that small
    and large images are both there whatever the total is.
    """
    low, high = 1e-3, 1e3
    for _ in range(60):
        middle = math.sqrt(low * high)
        if sum(_spread(files, middle)) > total:
            low = middle
        else:
            high = middle
    return sorted(_spread(files, high), key=lambda size: _noise(size, 8))


def _noise(seed: int, length: int) -> bytes:
    """Bytes without a pattern, the same for the same seed on every machine."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(length)


def _spread(files: int, bend: float) -> list[int]:
    return [int(SMALLEST * SPAN ** (((i + 0.5) / files) ** bend)) for i in range(files)]


def plan_images(files: int, total: int) -> list[Image]:
    """What to generate, laid out as plates, wells and fields."""
    sizes = image_sizes(files, total)
    return [Image(_path(number), size, number) for number, size in enumerate(sizes)]


def _path(number: int) -> str:
    well, field = divmod(number, IMAGES_A_WELL)
    plate, well = divmod(well, 96)
    row, column = divmod(well, 12)
    return f"plate-{plate + 1:02}/{'ABCDEFGH'[row]}{column + 1:02}/field{field:02}.tif"


def tiff_header(width: int, height: int) -> bytes:
    """The bytes before the pixels of a ``width`` x ``height`` image."""
    tags = [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, 1, 8),  # BitsPerSample
        (259, SHORT, 1, 1),  # Compression: none
        (262, SHORT, 1, 1),  # PhotometricInterpretation: black is zero
        (270, ASCII, len(DESCRIPTION), DESCRIPTION_AT),
        (273, LONG, 1, PIXELS_AT),  # StripOffsets
        (277, SHORT, 1, 1),  # SamplesPerPixel
        (278, LONG, 1, height),  # RowsPerStrip: all in one strip
        (279, LONG, 1, width * height),  # StripByteCounts
        (282, RATIONAL, 1, RESOLUTION_AT),
        (283, RATIONAL, 1, RESOLUTION_AT),
        (296, SHORT, 1, 3),  # ResolutionUnit: centimetre
    ]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4)
    values = struct.pack("<II", 15_385, 1) + DESCRIPTION  # 0.65 micrometres a pixel
    return (start.ljust(RESOLUTION_AT, b"\0") + values).ljust(PIXELS_AT, b"\0")


def _speckle(gain: float) -> bytes:
    """A table that turns evenly spread bytes into speckle of the mean intensity ``gain``."""
    return bytes(min(255, int(-math.log(1 - value / 256) * gain)) for value in range(256))


BACKGROUND = _speckle(24)
CELL = bytes(min(255, value * 3 + 12) for value in range(256))
"""How a pixel of the background looks inside a cell."""


def make_image(size: int, seed: int) -> bytes:
    """A TIFF file of about ``size`` bytes (the last, incomplete row of pixels is left out)."""
    width = max(1, math.isqrt(size - PIXELS_AT))
    height = (size - PIXELS_AT) // width
    noise = _noise(seed, width * height)
    pixels = bytearray(noise.translate(BACKGROUND))
    for cell in range(1 + size // CELL_BYTES):
        _draw_cell(pixels, width, height, noise[cell * 9 : cell * 9 + 9])
    return tiff_header(width, height) + bytes(pixels)


def _draw_cell(pixels: bytearray, width: int, height: int, noise: bytes) -> None:
    """Make a disc brighter; nine bytes of noise say which."""
    radius = 3 + noise[0] % 22
    middle = int.from_bytes(noise[1:5], "big") % width
    top = int.from_bytes(noise[5:9], "big") % height
    for row in range(max(0, top - radius), min(height, top + radius)):
        half = math.isqrt(radius * radius - (row - top) ** 2)
        first = row * width + max(0, middle - half)
        last = row * width + min(width, middle + half)
        pixels[first:last] = pixels[first:last].translate(CELL)


def generate(root: Path, images: list[Image], advance: Advance, *, tag: bool) -> None:
    """Write ``images`` below ``root``; every third gets xattrs when ``tag`` is set.

    Raises OSError, for instance when the disk is full.
    """
    for image in images:
        path = root / image.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_image(image.size, image.number))
        if tag and image.number % TAGGED_EVERY == 0:
            _tag(path, image.number)
        _date(path, image.number)
        advance(image.size)
    for number, directory in enumerate(_directories(root)):
        _date(directory, number)


def _tag(path: Path, number: int) -> None:
    set_xattr(path, "user.channel", (b"DAPI", b"GFP", b"Cy5")[number % 3])
    set_xattr(path, "user.stage", struct.pack("<ddd", number, -number, 0.5))


def _date(path: Path, number: int) -> None:
    when = BASE_TIME_NS + number * 1_000_000_007
    os.utime(path, ns=(when, when))


def _directories(root: Path) -> Iterator[Path]:
    return (Path(path) for path, _, _ in os.walk(root))
