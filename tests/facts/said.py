"""What the libraries say of whole files: header facts must equal it, where they are given."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import soundfile
import tifffile
from PIL import Image
from pyarrow import parquet
from safetensors import deserialize

from tierfs.facts.image import MOST_PIXELS

HEAD = 64 * 1024
"""Bytes of a file that an extractor sees without asking."""

Said = dict[str, int | float | str]


def said_of_image(data: bytes) -> Said:
    """By Pillow, of the whole file; the bits of a sample by the file itself."""
    with Image.open(io.BytesIO(data)) as image:
        said: Said = {
            "image.format": str(image.format),
            "image.width": image.width,
            "image.height": image.height,
            "image.mode": image.mode,
            **_bits(data, image.mode),
        }
        if data[:4] != b"\x00\x00\x01\x00":
            with contextlib.suppress(*_WRONG):
                said["image.frames"] = getattr(image, "n_frames", 1)
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MOST_PIXELS:
            return said
        try:
            image.load()
            said["image.truncated"] = 0
        except _WRONG as error:
            if isinstance(error, OSError) and "truncated" in str(error):
                said["image.truncated"] = 1
    return said


_WRONG: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
)
"""What Pillow raises where an image is wrong behind its header."""


def _bits(data: bytes, mode: str) -> Said:
    """Of PNG, PPM and BMP, which Pillow may bring to 8 bits."""
    if data[12:16] == b"IHDR":
        return {"image.bits": 8 if data[25] == 3 else data[24]}
    if data[:2] in {b"P2", b"P3", b"P5", b"P6"} and b"#" not in data[:40]:
        most = int(data.split(maxsplit=4)[3])
        return {"image.bits": (most).bit_length()}
    if data[:2] == b"BM" and mode == "RGB" and data[14] >= 40:
        return {"image.bits": {16: 5}.get(int.from_bytes(data[28:30], "little"), 8)}
    return {}


def said_of_tiff(data: bytes) -> Said:
    """By tifffile, of the whole file."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        said: Said = {
            "image.width": page.imagewidth,
            "image.height": page.imagelength,
            "tiff.pages": len(file.pages),
            "tiff.ome": int(file.is_ome),
            "tiff.compression": getattr(page.compression, "name", str(page.compression)),
        }
        bits = page.tags.valueof("BitsPerSample", 1)
        if not isinstance(bits, tuple) or len(set(bits)) == 1:
            said["image.bits"] = bits[0] if isinstance(bits, tuple) else bits
        if not file.is_ome:
            said["image.channels"] = page.samplesperpixel
        else:
            said |= _said_of_ome(file.ome_metadata or "")
    return said


def _said_of_ome(text: str) -> Said:
    """By tifffile's own reader of OME-XML."""
    try:
        images = tifffile.xml2dict(text)["OME"]["Image"]
        pixels = (images[0] if isinstance(images, list | tuple) else images)["Pixels"]
    except Exception:  # noqa: BLE001 - no XML, or other XML
        return {}
    wanted = {"image.channels": "SizeC", "tiff.planes": "SizeZ", "tiff.timepoints": "SizeT"}
    said: Said = {key: pixels[name] for key, name in wanted.items() if name in pixels}
    for axis in "XYZ":
        if pixels.get(f"PhysicalSize{axis}Unit", "µm") == "µm" and f"PhysicalSize{axis}" in pixels:
            said[f"tiff.physical_size_{axis.lower()}"] = pixels[f"PhysicalSize{axis}"]
    return said


def said_of_sound(data: bytes) -> Said:
    """By libsndfile, of the whole file."""
    info = soundfile.info(io.BytesIO(data))
    return {
        "audio.format": info.format,
        "audio.encoding": info.subtype,
        "audio.rate": info.samplerate,
        "audio.channels": info.channels,
        "audio.frames": info.frames,
        "audio.duration": info.duration,
    }


_HEADER = 128
"""Bytes of the header of an array with a short type."""


def said_of_array(data: bytes) -> Said:
    """By NumPy, of the whole file; the header alone where it loads no arrays of objects."""
    if data.startswith(b"\x93NUMPY"):
        return {"array.format": "npy", **_said_of_npy(data)}
    loaded = np.load(io.BytesIO(data))
    names = sorted(loaded.files)
    said: Said = {
        "array.format": "npz",
        "array.arrays": len(names),
        "array.names": ",".join(names),
    }
    if len(names) == 1:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            try:
                said |= _said_of_npy(archive.read(archive.namelist()[0]))
            except (zipfile.BadZipFile, zlib.error):  # damaged behind its header
                with archive.open(archive.namelist()[0]) as member:
                    said |= _said_of_npy(member.read(_HEADER))
    return said


def _said_of_npy(data: bytes) -> Said:
    try:
        loaded = np.load(io.BytesIO(data))
        shape, dtype = loaded.shape, loaded.dtype
    except ValueError:  # objects, or fewer bytes than the header tells of
        start = 10 if data[6] == 1 else 12
        length = int.from_bytes(data[8:start], "little")
        header = ast.literal_eval(data[start : start + length].decode("latin-1").strip())
        shape, dtype = header["shape"], np.lib.format.descr_to_dtype(header["descr"])
    return {
        "array.shape": "x".join(map(str, shape)),
        "array.dimensions": len(shape),
        "array.dtype": str(dtype),
    }


def said_of_table(data: bytes) -> Said:
    """By pyarrow, of the whole file."""
    file = parquet.ParquetFile(io.BytesIO(data))
    return {
        "parquet.rows": file.metadata.num_rows,
        "parquet.row_groups": file.num_row_groups,
        "parquet.columns": len(file.schema),
        "parquet.names": ",".join(file.schema_arrow.names),
        "parquet.created_by": file.metadata.created_by,
    }


def said_of_tensors(data: bytes) -> Said:
    """By the library safetensors, of the whole file."""
    tensors: list[tuple[str, dict[str, Any]]] = deserialize(data)  # type: ignore[no-untyped-call]
    return {
        "tensors.count": len(tensors),
        "tensors.parameters": sum(math.prod(each["shape"]) for _, each in tensors),
        "tensors.dtypes": ",".join(sorted({str(each["dtype"]) for _, each in tensors})),
        "tensors.names": ",".join(sorted(name for name, _ in tensors)),
    }


def said_of_json(data: bytes) -> Said:
    """By the module json, of the whole file; of lines where it is not one value."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    try:
        value, lines = json.loads(text), 0
    except (ValueError, RecursionError):
        rows = [line for line in text.splitlines() if line.strip()]
        value, lines = json.loads(rows[0]), len(rows)
        if lines == 1:
            raise
        json.loads(rows[1])
        if len(text) <= HEAD:  # of a longer file two lines prove the form
            [json.loads(row) for row in rows]
    said: Said = {"json.format": "jsonl" if lines else "json"}
    if isinstance(value, dict):
        said |= {"json.keys": ",".join(sorted(value)), "json.key_count": len(value)}
        said["json.type"] = "object"
    elif isinstance(value, list):
        said["json.type"] = "array"
    if lines or isinstance(value, list):
        said["json.items"] = lines or len(value)
    return said


SAID: dict[str, Callable[[bytes], Said]] = {
    "image": said_of_image,
    "tiff": said_of_tiff,
    "sound": said_of_sound,
    "array": said_of_array,
    "parquet": said_of_table,
    "safetensors": said_of_tensors,
    "json": said_of_json,
}


class Difference(AssertionError):
    """A fact is not what the library says of the whole file."""


def said_of(data: bytes, extractor: str) -> Said:
    """What the library says of all bytes; raises what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SAID[extractor](data) if extractor in SAID else {}


def compare(data: bytes, facts: Mapping[str, object], extractor: str) -> int:
    """Compare facts with what the library says of all bytes; returns how many were compared.

    Raises:
        Difference: one differs.
        What the library raises where it cannot read the file.
    """
    said = said_of(data, extractor)
    both = said.keys() & facts.keys()
    wrong = {key: (facts[key], said[key]) for key in both if facts[key] != said[key]}
    if wrong:
        raise Difference(f"{extractor}: {wrong}")
    return len(both)
