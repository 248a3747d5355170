"""Rows as they are sent, and as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.query.asking import whole_numbers
from tierfs.cli import rows
from tierfs.cli.rows import Column, writing
from tierfs.query import stream

pytestmark = pytest.mark.once


def test_lines_have_many_rows_and_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "TOGETHER", 10)
    monkeypatch.setattr(stream, "LONGEST", 100)
    sent = [["x" * length] for length in (*[1] * 25, 80, 80, 1, 1000, 1)]
    lines = list(stream.lines(sent))
    assert [row for line in lines for row in json.loads(line)] == sent
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert len(json.loads(lines[0])) == 10
    assert all(len(line) <= 100 or len(json.loads(line)) == 1 for line in lines)
    assert list(stream.lines([])) == []


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_parquet_has_a_column_for_each_key_of_the_type_of_its_values(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", batch)
    columns = [
        Column("path", "text"),
        Column("mtime", "time"),
        Column("pinned", "flag"),
        Column("heat", "real"),
        Column("image.width", "fact"),
        Column("nothing", "fact"),
        Column("tags", "map"),
        Column("facts", "map"),
    ]
    written: list[list[Any]] = [
        ["/a", 10**18 + 1, 1, 2, 5, None, {}, {"n": 1, "m": 2, "odd": 2**62 + 1}],
        ["/b\udcff", None, False, 0.5, None, None, {"user.x": "\udce9"}, {"n": 2, "m": 0.5}],
        ["/c", -1, None, None, 2.5, None, {"user.x": "y"}, {"m": "wide", "odd": 0.5}],
        [None, 0, True, 1.0, 7, None, {"path": "never"}, {}],
    ]
    file = tmp_path / "found.parquet"
    with writing(columns, "parquet", file) as writer:
        for row in written:
            writer.write([row])
        writer.write([])
    table = pq.read_table(file)
    kinds = {
        "path": pa.string(),
        "mtime": pa.timestamp("ns", tz="UTC"),
        "pinned": pa.bool_(),
        "heat": pa.float64(),
        "image.width": pa.float64(),
        "nothing": pa.string(),
        "m": pa.string(),
        "n": pa.int64(),
        "odd": pa.float64(),
        "user.x": pa.string(),
    }
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == kinds
    assert list(table.schema.names) == list(kinds)
    found = whole_numbers(table)
    assert [list(row.values())[:6] for row in found] == [
        ["/a", 10**18 + 1, True, 2.0, 5.0, None],
        ["/b\\xff", None, False, 0.5, None, None],
        ["/c", -1, None, None, 2.5, None],
        [None, 0, True, 1.0, 7.0, None],
    ]
    assert [(row["n"], row["odd"], row["user.x"]) for row in found] == [
        (1, float(2**62), None),
        (2, None, "\\xe9"),
        (None, 0.5, "y"),
        (None, None, None),
    ]
    assert [row["m"] for row in found][1:] == ["0.5", "wide", None]
    assert found[0]["m"] in {"2", "2.0"}


def test_parquet_of_mappings_alone_keeps_rows_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 2)
    file = tmp_path / "tags.parquet"
    with writing([Column("tags", "map")], "parquet", file) as writer:
        writer.write([[{}], [{}]])
        writer.write([[{"user.x": "y"}], [{}]])
    assert pq.read_table(file).column("user.x").to_pylist() == [None, None, "y", None]


def test_parquet_of_no_rows_has_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "none.parquet"
    with writing([Column("path", "text"), Column("tags", "map")], "parquet", file):
        pass
    assert pq.read_table(file).schema.names == ["path"]
