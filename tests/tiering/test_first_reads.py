"""The histogram of first reads: what it keeps, how it fades, and that it stays small."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutator import mutations
from tierfs.common.units import DAY, KIB, MIB
from tierfs.tiering.first_reads import (
    CELLS,
    EXTENSIONS,
    OTHERS,
    REACHES,
    BadFirstReads,
    Cell,
    FirstReads,
    Source,
    extension_of,
    pack,
    reach_class,
    size_class,
    unpack,
)

SOURCES: list[Source] = ["job", "requests"]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(SOURCES),
        st.sampled_from([".jpg", ".tif", ".x" * 20, "", ".a/b", "jpg", "*", ".tar"]),
        st.integers(min_value=-1, max_value=2**63),
        st.integers(min_value=-1, max_value=2**64),
    )
)


def filled(*rows: tuple[Source, str, int, int]) -> FirstReads:
    table = FirstReads()
    for row in rows:
        table.count(*row)
    return table


@given(ROWS)
def test_every_first_read_is_in_one_cell_that_holds_for_it(
    rows: list[tuple[Source, str, int, int]],
) -> None:
    for row in rows:
        source, extension, size, reach = row
        counts = filled(row).counts
        if not (0 < size < 2**63 and reach > 0):
            assert counts == {}
            continue
        [(cell, count)] = counts.items()
        assert (cell.source, count) == (source, 1)
        assert cell.extension == (extension if extension in {".jpg", ".tif", ".tar"} else OTHERS)
        assert cell.size // 2 < size <= cell.size
        assert cell.whole is (reach >= size)
        read = min(reach, size)
        below = [bound for bound in REACHES if bound < read]
        assert cell.reach == REACHES[len(below)] if len(below) < len(REACHES) else not cell.reach
    table = filled(*rows)
    valid = [row for row in rows if 0 < row[2] < 2**63 and row[3] > 0]
    assert sum(table.counts.values()) == len(valid)
    again = unpack(pack(table))
    assert again.counts == table.counts
    assert again.faded_at == table.faded_at


def test_classes() -> None:
    assert [size_class(size) for size in (1, 2, 3, 4096, 4097)] == [1, 2, 4, 4096, 8192]
    assert [reach_class(reach) for reach in (1, 4096, 4097, 90 * KIB, 200 * KIB, 113 * MIB)] == [
        4 * KIB,
        4 * KIB,
        8 * KIB,
        96 * KIB,
        224 * KIB,
        0,
    ]


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        (b"a.jpg", ".jpg"),
        (b"a.tar.gz", ".gz"),
        (b"A.JPG", ".JPG"),
        (b".bashrc", ""),
        (b"plain", ""),
        (b"a.", ""),
        (b"a.{x}", ""),
        (b"a.\xff", ""),
        (b"a." + b"x" * 16, ""),
        (b"", ""),
    ],
)
def test_extensions(name: bytes, extension: str) -> None:
    assert extension_of(name) == extension


def test_counts_fade_and_are_forgotten() -> None:
    rows: list[tuple[Source, str, int, int]] = [("job", ".jpg", 100, 50)] * 8
    table = filled(*rows)
    table.fade(0)
    table.fade(30 * DAY)
    assert sum(table.counts.values()) == pytest.approx(4)
    table.fade(29 * DAY)  # the clock was set back
    assert sum(table.counts.values()) == pytest.approx(4)
    table.fade(400 * DAY)
    assert table.counts == {}


def test_rare_extensions_are_put_together() -> None:
    rows: list[tuple[Source, str, int, int]] = []
    for number in range(3 * EXTENSIONS):
        rows += [("requests", f".x{number}", 100, 50)] * (number + 1)
    table = filled(*rows)
    table.fade(0)
    kept = {cell.extension for cell in table.counts}
    assert kept == {f".x{number}" for number in range(2 * EXTENSIONS, 3 * EXTENSIONS)} | {OTHERS}
    assert sum(table.counts.values()) == len(rows)


def test_it_stays_small_whatever_is_told() -> None:
    common: list[tuple[Source, str, int, int]] = [("job", ".jpg", 300 * KIB, 20 * KIB)] * 100
    table = filled(*common)
    for number in range(2 * CELLS):
        table.count("job", f".{number}", 1 << number % 40, 4 * KIB << number % 14)
    assert len(table.counts) <= CELLS
    assert table.counts[Cell("job", ".jpg", 512 * KIB, 20 * KIB, whole=False)] == 100
    assert len(pack(table)) < 2 * MIB


GOOD = filled(("job", ".jpg", 300 * KIB, 20 * KIB), ("requests", "", 10, 10))


@pytest.mark.parametrize(
    "snapshot",
    [
        b"",
        b"[]",
        b'{"version": 2, "faded_at": null, "rows": []}',
        b'{"version": 1, "rows": []}',
        b'{"version": 1, "faded_at": "x", "rows": []}',
        *(
            json.dumps({"version": 1, "faded_at": None, "rows": [row]}).encode()
            for row in (
                [],
                ["me", ".jpg", 4, 4096, True, 1.0],
                ["job", "jpg", 4, 4096, True, 1.0],
                ["job", ".jpg", 5, 4096, True, 1.0],
                ["job", ".jpg", 4, 4097, True, 1.0],
                ["job", ".jpg", 4, 4096, 1, 1.0],
                ["job", ".jpg", 4, 4096, True, -1],
                ["job", ".jpg", 4, 4096, True, float("nan")],
                ["job", ".jpg", 4, 4096, True, float("inf")],
                ["job", [".jpg"], 4, 4096, True, 1.0],
            )
        ),
    ],
)
def test_what_cannot_be_used_is_refused(snapshot: bytes) -> None:
    with pytest.raises(BadFirstReads):
        unpack(snapshot)


def test_any_bytes_are_used_or_refused() -> None:
    for data in mutations([pack(GOOD)]):
        try:
            unpack(data)
        except BadFirstReads:
            continue
