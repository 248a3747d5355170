"""The extractors: what they say equals what the libraries say of the whole file, or is not said."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.facts.facts_page import PAGE, rendered
from tests.facts.said import SAID, compare
from tests.facts.samples import (
    SAMPLES,
    corrupted,
    every_sample,
    installed_files,
    noise,
    safetensors_file,
)
from tests.facts.workers import WorkerMaker, ask
from tests.guards.logs import ExpectLog
from tierfs.facts.extractor import KEY, LONGEST_TEXT, checked, load_installed
from tierfs.facts.process import Answer, WorkerProcess

NAMES = ("array", "image", "json", "parquet", "safetensors", "sound", "tiff")


def bmp(bits: int) -> bytes:
    """A BMP of one pixel."""
    header = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, bits, 0, 4, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + header + bytes(4)


def png(width: int, height: int, rows: bytes, depth: int = 1, colour: int = 0) -> bytes:
    """A PNG, of one bit a pixel if not said otherwise."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(48)) if colour == 3 else b""
    data = (
        chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """One for all tests, started before the first."""
    maker = WorkerMaker(tmp_path_factory.mktemp("workers"))
    made = maker()
    made.start()
    yield made
    maker.close()


def named(name: str) -> bytes:
    """A sample."""
    return next(data for _, other, data in every_sample() if other == name)


def facts(worker: WorkerProcess, data: bytes) -> dict[str, Any]:
    """What is said of a file, which has no error."""
    answer = ask(worker, data)
    assert answer.error is None
    return answer.facts


def test_all_are_installed_and_none_fails(worker: WorkerProcess) -> None:
    assert ([each.name for each in worker.identities], worker.missing) == ([*NAMES], {})


@pytest.mark.parametrize("extractor", [*SAMPLES, "safetensors"])
def test_facts_equal_what_the_library_says_of_the_whole_file(
    worker: WorkerProcess, extractor: str
) -> None:
    compared = 0
    for meant, name, data in every_sample():
        if meant == extractor:
            answer = ask(worker, data)
            assert (answer.extractor.name, answer.error) == (extractor, None), name
            compared += compare(data, answer.facts, extractor)
    assert compared or extractor not in SAID


def test_files_of_installed_packages(worker: WorkerProcess) -> None:
    files = installed_files(300)
    found: Counter[str] = Counter()
    for path in files:
        data = path.read_bytes()
        answer = ask(worker, data)
        found[answer.extractor.name] += bool(answer.facts)
        with suppress(ValueError):  # NumPy loads no objects that somebody pickled
            compare(data, answer.facts, answer.extractor.name)
    assert sum(found.values()) >= len(files) * 0.9, found


def test_corrupted_headers_give_no_wrong_fact_and_end_no_worker(
    worker: WorkerProcess, expect_log: ExpectLog
) -> None:
    expect_log("Tiff", required=False)  # the library, when it reads them here
    ended = worker.ended
    for extractor, name, data in corrupted(150, seed=18):
        answer = ask(worker, data)
        check_corrupted(extractor, name, data, answer)
    assert worker.ended == ended


def check_corrupted(extractor: str, name: str, data: bytes, answer: Answer) -> None:
    """What is said of a corrupted file is what the library says of it."""
    if not answer.facts or answer.extractor.name not in SAID:
        return
    try:
        compare(data, answer.facts, answer.extractor.name)
    except AssertionError as error:
        raise AssertionError(f"{extractor} {name}: {error}") from error
    except Exception:  # noqa: BLE001 - the library cannot read it to its end
        return


@pytest.mark.parametrize(
    ("depth", "colour", "bits"), [(1, 0, 1), (4, 0, 4), (16, 0, 16), (4, 3, 8), (16, 2, 16)]
)
def test_bits_are_those_of_the_file_not_of_what_pillow_makes_of_it(
    worker: WorkerProcess, depth: int, colour: int, bits: int
) -> None:
    data = png(2, 1, bytes(14), depth, colour)
    assert facts(worker, data)["image.bits"] == bits
    assert compare(data, facts(worker, data), "image")


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (b"P6\n1 1\n65535\n" + bytes(6), None),
        (b"P5\n1 1\n15\n\1", None),
        (b"P6\n1 1\n255\n" + bytes(3), 8),
        (b"P5\n1 1\n65535\n" + bytes(2), None),
        (bmp(16), None),
        (bmp(24), 8),
    ],
)
def test_bits_that_pillow_changes_are_unknown(
    worker: WorkerProcess, data: bytes, bits: int | None
) -> None:
    found = facts(worker, data)
    assert (found["image.width"], found.get("image.bits")) == (1, bits)


def test_a_width_that_is_no_number_of_pixels_is_none(worker: WorkerProcess) -> None:
    data = bytearray(named("plain.tif"))
    at = data.index(b"\x00\x01\x04\x00\x01\x00\x00\x00")  # tag 256, a LONG
    data[at + 2] = 11  # FLOAT
    assert ask(worker, bytes(data)).error == "no width or height"


def test_a_decompression_bomb_has_a_width_and_is_not_decoded(worker: WorkerProcess) -> None:
    bomb = png(200_000, 200_000, bytes(20_000_000))
    found = facts(worker, bomb)
    assert (found["image.width"], found["image.height"]) == (200_000, 200_000)
    assert "image.truncated" not in found


def test_a_truncated_image_is_one(worker: WorkerProcess) -> None:
    for name in ("RGB-37.png", "RGB-37.jpeg"):
        data = named(name)
        assert facts(worker, data)["image.truncated"] == 0
        assert facts(worker, data[: len(data) * 2 // 3])["image.truncated"] == 1


def test_the_end_of_a_large_image_tells_that_it_is_complete(worker: WorkerProcess) -> None:
    data = named("RGB-300.png")
    assert len(data) > 3 * 65536
    assert facts(worker, data)["image.truncated"] == 0
    assert "image.truncated" not in facts(worker, data[:-10])


def test_ome_tiff_tells_of_planes_channels_and_micrometres(worker: WorkerProcess) -> None:
    found = facts(worker, named("ome.ome.tif"))
    wanted = {
        "image.width": 40,
        "image.height": 30,
        "image.bits": 16,
        "image.channels": 3,
        "tiff.ome": 1,
        "tiff.pages": 24,
        "tiff.planes": 4,
        "tiff.timepoints": 2,
        "tiff.physical_size_x": 0.25,
        "tiff.physical_size_y": 0.25,
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert "tiff.physical_size_z" not in found


def test_tensors(worker: WorkerProcess) -> None:
    tensors = {"w": noise(4, 5, dtype="float32"), "b": noise(9, dtype="int8")}
    data = safetensors_file(tensors)
    assert facts(worker, data) == {
        "tensors.count": 2,
        "tensors.parameters": 29,
        "tensors.dtypes": "F32,I8",
        "tensors.names": "b,w",
    }
    assert ask(worker, data[:-1]).error == "its tensors do not fill the file"
    assert ask(worker, data[:30]).error == "the file ends before its header does"


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        (b'"F32", "shape": [4, 5]', b'"F32", "shape": [4, 6]'),  # more than its bytes
        (b'"F32", "shape": [4, 5]', b'"F99", "shape": [4, 5]'),
        (b'"F32", "shape": [4, 5]', b'"F32", "shape": [20e0]'),
        (b'"I8", "shape": [9]', b'"F4", "shape": [9]'),  # half a byte is left
        (b'"data_offsets": [80, 89]', b'"data_offsets": [79, 88]'),
        (b'"data_offsets": [80, 89]', b'"data_offsets": [81, 89]'),
        (b'"format": "pt"', b'"format": 1234'),
        (b'"b": {', b'"w": {'),  # twice
    ],
)
def test_tensors_that_the_library_refuses(
    worker: WorkerProcess, found: bytes, changed: bytes
) -> None:
    tensors = {"w": noise(4, 5, dtype="float32"), "b": noise(9, dtype="int8")}
    data = safetensors_file(tensors)
    assert found in data
    answer = ask(worker, data.replace(found, changed.ljust(len(found))))
    assert (answer.facts, answer.error is None) == ({}, False)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("object.json", {"json.format": "json", "json.type": "object", "json.keys": "a,b"}),
        ("list.json", {"json.format": "json", "json.type": "array", "json.items": 3}),
        ("short.jsonl", {"json.format": "jsonl", "json.keys": "label,path", "json.items": 3}),
        ("long.jsonl", {"json.format": "jsonl", "json.keys": "label,path", "json.items": None}),
        ("long.json", {"json.format": None, "json.type": None, "json.items": None}),
    ],
)
def test_json(worker: WorkerProcess, name: str, wanted: dict[str, object]) -> None:
    found = facts(worker, named(name))
    assert {key: found.get(key) for key in wanted} == wanted


def test_what_is_no_file_of_theirs_is_unknown(worker: WorkerProcess) -> None:
    for data in (b"", b"x", b"plain text\n" * 100, b"{not json", b"BM", b"\xff\xd8", b"PK\x03\x04"):
        answer = ask(worker, data)
        assert not answer.facts, data


def test_a_fact_that_cannot_be_stored_is_left_out() -> None:
    found = {"a.b": 2**64, "a.c": float("nan"), "a.d": "x" * (LONGEST_TEXT + 1), "a.e": "\x1b["}
    assert checked({**found, "a.f": None, "a.g": True, "a.h": "ü"}) == {"a.g": 1, "a.h": "ü"}
    for wrong in ({"A": 1}, {"a b": 1}, {"a": [1]}, {"a" * 65: 1}):
        with pytest.raises(ValueError, match="fact"):
            checked(wrong)


def test_every_fact_has_a_name_of_the_right_form_and_stands_in_the_reference() -> None:
    for extractor in load_installed().extractors:
        assert all(KEY.fullmatch(key) for key in extractor.keys)
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page), "run: python -m tests.facts.facts_page"


def test_each_says_only_what_it_declares(worker: WorkerProcess) -> None:
    declared = {each.name: set(each.keys) for each in load_installed().extractors}
    for _, name, data in every_sample():
        answer = ask(worker, data)
        assert set(answer.facts) <= declared[answer.extractor.name], name
