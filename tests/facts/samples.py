"""Files of every format, made by the libraries themselves, sound and corrupted."""

from __future__ import annotations

import functools
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import tifffile
from PIL import Image
from pyarrow import parquet

IMAGES = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM", "ICO", "JPEG2000")
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16")


def noise(*shape: int, dtype: str = "uint8", seed: int = 1) -> np.ndarray[Any, Any]:
    """An array that does not compress."""
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def images() -> Iterator[tuple[str, bytes]]:
    """In every mode that a format takes, small and larger than the head."""
    for kind in IMAGES:
        for mode in MODES:
            for size in ((1, 1), (37, 21), *[(300, 400)] * (kind != "JPEG2000")):
                stream = io.BytesIO()
                source = Image.fromarray(noise(size[1], size[0], 3)).convert("RGB")
                try:
                    source.convert(mode).save(stream, kind)
                except (OSError, ValueError, KeyError):
                    continue
                yield f"{mode.replace(';', '')}-{size[0]}.{kind.lower()}", stream.getvalue()
    frames = [Image.fromarray(noise(9, 8, 3, seed=seed)) for seed in range(5)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    yield "animation.gif", stream.getvalue()


def tiffs() -> Iterator[tuple[str, bytes]]:
    """Plain, big, many pages, and OME-TIFF with its sizes."""
    cases: dict[str, dict[str, Any]] = {
        "plain.tif": {"data": noise(30, 40)},
        "rgb.tif": {"data": noise(30, 40, 3), "photometric": "rgb"},
        "deep.tif": {"data": noise(300, 400, dtype="uint16")},
        "pages.tif": {"data": noise(7, 30, 40), "photometric": "minisblack"},
        "big.tif": {"data": noise(30, 40), "bigtiff": True},
        "compressed.tif": {"data": noise(30, 40), "compression": "zlib"},
        "ome.ome.tif": {
            "data": noise(2, 3, 4, 30, 40, dtype="uint16"),
            "photometric": "minisblack",
            "metadata": {
                "axes": "TCZYX",
                "PhysicalSizeX": 0.25,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": 250.0,
                "PhysicalSizeYUnit": "nm",
            },
            "ome": True,
        },
    }
    for name, options in cases.items():
        stream = io.BytesIO()
        tifffile.imwrite(stream, **options)
        yield name, stream.getvalue()


def sounds() -> Iterator[tuple[str, bytes]]:
    """WAV and FLAC of several rates, channels and encodings."""
    for kind, encodings in (("WAV", ("PCM_16", "FLOAT", "PCM_U8")), ("FLAC", ("PCM_16", "PCM_24"))):
        for encoding in encodings:
            for channels, rate, frames in ((1, 8000, 10), (2, 44100, 50_000), (6, 48000, 999)):
                stream = io.BytesIO()
                data = np.random.default_rng(2).uniform(-1, 1, (frames, channels))
                soundfile.write(stream, data, rate, encoding, format=kind)
                yield f"{encoding}-{channels}.{kind.lower()}", stream.getvalue()


def arrays() -> Iterator[tuple[str, bytes]]:
    """.npy in both orders, scalars, structured types, and .npz."""
    values: dict[str, Any] = {
        "plain": noise(3, 5, 7),
        "scalar": np.float32(1.5),
        "fortran": np.asfortranarray(noise(30, 40, dtype="float64")),
        "records": np.zeros(4, dtype=[("a", "<i4"), ("b", "<f8", (2, 2))]),
        "large": noise(300, 400, dtype="int16"),
        "empty": np.zeros((0, 3)),
    }
    for name, value in values.items():
        stream = io.BytesIO()
        np.save(stream, value)
        yield f"{name}.npy", stream.getvalue()
    stream = io.BytesIO()
    np.savez(stream, x=values["plain"], y=values["large"])
    yield "two.npz", stream.getvalue()
    stream = io.BytesIO()
    np.savez_compressed(stream, only=values["large"])
    yield "one.npz", stream.getvalue()


def safetensors_file(tensors: dict[str, Any]) -> bytes:
    """A file of the format, as its documentation has it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, value in tensors.items():
        end = len(data) + value.nbytes
        header[name] = {
            "dtype": {"float32": "F32", "int8": "I8"}[str(value.dtype)],
            "shape": list(value.shape),
            "data_offsets": [len(data), end],
        }
        data += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def tables() -> Iterator[tuple[str, bytes]]:
    """Parquet, small and with several row groups."""
    for name, rows in (("small", 3), ("large", 50_000)):
        table = pa.table({"path": [f"{row}.png" for row in range(rows)], "label": [1.5] * rows})
        stream = io.BytesIO()
        parquet.write_table(table, stream, row_group_size=10_000)
        yield f"{name}.parquet", stream.getvalue()


def texts() -> Iterator[tuple[str, bytes]]:
    """JSON and JSON Lines, within the head and beyond."""
    line = json.dumps({"path": "a.png", "label": "cat"}) + "\n"
    yield "object.json", json.dumps({"b": 1, "a": [1, 2]}, indent=2).encode()
    yield "list.json", json.dumps([1, 2, 3]).encode()
    yield "short.jsonl", (line * 3).encode()
    yield "long.jsonl", (line * 5000).encode()
    yield "long.json", json.dumps([{"n": number} for number in range(20_000)]).encode()


SAMPLES: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
    "image": images,
    "tiff": tiffs,
    "sound": sounds,
    "array": arrays,
    "parquet": tables,
    "json": texts,
}


@functools.cache
def every_sample() -> list[tuple[str, str, bytes]]:
    """The extractor that is meant, a name, and the bytes; of each file."""
    made = [(extractor, *each) for extractor, make in SAMPLES.items() for each in make()]
    tensors = {"w": noise(4, 5, dtype="float32"), "b": noise(9, dtype="int8")}
    return [*made, ("safetensors", "model.safetensors", safetensors_file(tensors))]


def corrupted(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """Samples of which some bytes of the header, or the end, are wrong."""
    chance = random.Random(seed)
    samples = [each for each in every_sample() if len(each[2]) > 20]
    kinds = sorted({extractor for extractor, *_ in samples})
    for _ in range(count):
        kind = chance.choice(kinds)  # there are many more images than others
        extractor, name, sound = chance.choice([each for each in samples if each[0] == kind])
        data = bytearray(sound)
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            at = int(len(data) * chance.random() ** 4)  # mostly near the beginning
            change = chance.randrange(6)
            if change == 0:
                data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)])
            elif change == 1:
                data[at : at + 4] = chance.choice(EXTREMES)
            elif change == 2:
                del data[at : at + chance.randrange(1, 9)]
            elif change == 3:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            elif change == 4:
                other = chance.choice(samples)[2]
                data[at:] = other[at : at + chance.randrange(1, len(other))]
            else:
                del data[max(8, len(data) - chance.randrange(1, len(data))) :]
            if len(data) < 12:
                break
        yield extractor, name, bytes(data)


EXTREMES = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f")


def installed_files(limit: int) -> list[Path]:
    """Files of these formats that installed packages bring, in the order of their names."""
    home = Path(np.__path__[0]).parent
    endings = {".png", ".gif", ".jpg", ".npy", ".npz", ".wav", ".parquet", ".tif", ".ico", ".webp"}
    found = [path for path in home.rglob("*") if path.suffix in endings and path.is_file()]
    return sorted(found)[:limit]
