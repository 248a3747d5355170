"""Images, by Pillow: all its formats but TIFF, which `tierfs.facts.tiff` reads."""

from __future__ import annotations

import struct
import warnings
from typing import Final

from PIL import Image, UnidentifiedImageError

from tierfs.facts.extractor import Extractor, Found, NotReadable
from tierfs.facts.source import Source

MOST_PIXELS: Final = 1 << 24
"""Of an image that is decoded, to find out whether it is complete."""

_STARTS: Final = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"8BPS", b"DDS "),
    *(b"\x00\x00\x01\x00", b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n", b"P1 ", b"P2 "),
    *(b"P3 ", b"P4 ", b"P5 ", b"P6 ", b"Pf\n", b"PF\n", b"qoif", b"\x00\x00\x00\x0cjP  ", b"icns"),
    *(b"\xff\x4f\xff\x51", b"SIMPLE  ="),
)
_RIFF: Final = (b"RIFF", b"WEBP")
_BRANDS: Final = (b"avif", b"avis")

_BITS: Final = {
    "1": 1,
    **dict.fromkeys(("L", "P", "LA", "PA", "La", "RGB", "RGBA", "RGBX", "RGBa", "CMYK"), 8),
    **dict.fromkeys(("YCbCr", "LAB", "HSV"), 8),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N"), 16),
}
"""Bits of a sample, by mode; of mode I and F the file may have fewer than Pillow uses."""

_AS_THEY_ARE: Final = frozenset({"JPEG", "MPO", "WEBP", "GIF", "QOI"})
"""Formats whose samples Pillow does not bring to another number of bits."""
_PALETTE: Final = 3
"""The colour type of a PNG whose samples, of 8 bits, are in a palette."""

_WRONG: Final = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error)
"""What Pillow raises where an image is wrong behind its header."""

_LAST_CHUNK: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_END_OF_IMAGE: Final = b"\xff\xd9"

KEYS: Final = {
    "image.format": "PNG, JPEG, GIF, WEBP and so on, as Pillow calls it",
    "image.width": "pixels",
    "image.height": "pixels",
    "image.mode": "as Pillow calls it: L, RGB, RGBA, P, CMYK and so on",
    "image.bits": "bits of a sample, of a palette 8; where the format tells",
    "image.frames": "images in the file, of an animation; only of files that are within the head",
    "image.truncated": "1: the file ends before the image does; 0: it is complete",
}


def recognises(head: bytes) -> bool:
    """Whether these are the first bytes of an image."""
    if head.startswith(_STARTS):
        return True
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return True
    return (head[:4], head[8:12]) == _RIFF


def extract(source: Source) -> Found:
    """The facts.

    Raises:
        NotReadable: the header is wrong.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source.file()) as image:
                return {
                    "image.format": image.format,
                    "image.width": image.width,
                    "image.height": image.height,
                    "image.mode": image.mode,
                    "image.bits": _bits(source, image),
                    "image.frames": _frames(source, image),
                    "image.truncated": _truncated(source, image),
                }
    except UnidentifiedImageError as error:
        raise NotReadable("no image that Pillow can read") from error


def _bits(source: Source, image: Image.Image) -> int | None:
    """Bits of a sample in the file; None where Pillow may have brought others to 8."""
    head, tile = source.head, getattr(image, "tile", [])
    if image.format == "PNG":
        if head[12:16] != b"IHDR":
            return None
        return 8 if head[25] == _PALETTE else head[24]
    if image.format in {"PPM", "BMP"}:
        raw = tile[0].args if tile and tile[0].codec_name == "raw" else None
        name = raw[0] if isinstance(raw, tuple) else raw
        if not isinstance(name, str) or ";1" in name:  # BGR;15, BGR;16
            return 1 if image.mode == "1" else None
    elif image.format not in _AS_THEY_ARE:
        return None
    return _BITS.get(image.mode)


def _frames(source: Source, image: Image.Image) -> int | None:
    if not source.whole:
        return None
    try:
        return int(getattr(image, "n_frames", 1))
    except _WRONG:
        return None


def _truncated(source: Source, image: Image.Image) -> bool | None:
    """Whether bytes are missing at the end; None: that is not known without the whole file."""
    if source.whole:
        return _fails(image) if image.width * image.height <= MOST_PIXELS else None
    if image.format == "PNG" and source.tail(len(_LAST_CHUNK)) == _LAST_CHUNK:
        return False
    if image.format == "JPEG" and source.tail(len(_END_OF_IMAGE)) == _END_OF_IMAGE:
        return False
    return None


def _fails(image: Image.Image) -> bool | None:
    try:
        image.load()
    except OSError as error:
        return True if "truncated" in str(error) else None
    except _WRONG:
        return None  # it is wrong in another way
    return False


Image.init()
# An image of any size may have a width: nothing is decoded for that.
Image.MAX_IMAGE_PIXELS = None

EXTRACTOR: Final = Extractor("image", 2, KEYS, recognises, extract)
