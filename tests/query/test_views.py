"""What SQL on the views may do, and what not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.query.asking import settled
from tests.support.volumes import LooseVolume
from tierfs.common.errors import UsageError
from tierfs.metadata.inodes import ROOT
from tierfs.query.settled import Rows
from tierfs.query.sql import SqlRequest, select

pytestmark = pytest.mark.once


@pytest.fixture
def index(small: LooseVolume) -> Iterator[Path]:
    small.fs.xattrs.set(ROOT, b"user.label", b"mitosis")
    small.fs.xattrs.set(ROOT, b"trusted.label", b"hidden")
    small.close()
    yield small.settings.index
    small.reopen()
    assert small.fs.xattrs.get(ROOT, b"trusted.label") == b"hidden"


def sql(index: Path, statement: str, seconds: float = 60) -> list[list[Any]]:
    """The names of the columns, and the rows."""
    rows = Rows()
    try:
        with settled() as counters:
            select(SqlRequest(index, statement, seconds), index, counters, rows)
        return [row for line in b"".join(rows.pieces()).splitlines() for row in json.loads(line)]
    finally:
        rows.close()


def test_views_have_what_they_say(index: Path) -> None:
    assert sql(index, "SELECT name, value FROM tags") == [
        ["name", "value"],
        ["user.label", "mitosis"],
    ]
    assert sql(index, "SELECT inode, type, mode FROM files")[1:] == [[1, "directory", 0o755]]
    assert sql(index, "SELECT count(*) FROM names") == [["count(*)"], [0]]
    assert sql(index, "SELECT * FROM facts") == [["inode", "name", "value"]]
    assert sql(
        index, "WITH t AS (SELECT * FROM tags) SELECT count(*) FROM t JOIN files USING (inode)"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM inode",
        "SELECT * FROM xattr",
        "WITH tags (x) AS (SELECT value FROM xattr) SELECT x FROM tags",
        "WITH files AS (SELECT * FROM main.inode) SELECT * FROM files",
        "SELECT x.value FROM (SELECT value FROM main.xattr) AS x",
        "SELECT sql FROM sqlite_schema",
        "SELECT * FROM temp.sqlite_schema",
        "SELECT * FROM pragma_table_info('inode')",
        "PRAGMA query_only = OFF",
        "ATTACH '/etc/passwd' AS other",
        "DELETE FROM xattr",
        "DELETE FROM tags",
        "CREATE TEMP TABLE x AS SELECT 1",
        "SELECT load_extension('x')",
        "VACUUM INTO '/tmp/tierfs-copy'",
        "SELECT 1; SELECT 2",
        "BEGIN",
        "nonsense",
    ],
)
def test_nothing_but_the_views_is_read_and_nothing_is_changed(statement: str, index: Path) -> None:
    with pytest.raises(UsageError):
        sql(index, statement)


def test_a_statement_ends_in_time_and_within_its_memory(index: Path) -> None:
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
    with pytest.raises(UsageError, match="takes too long"):
        sql(index, f"{numbers} max(i) FROM n", 0.2)
    with pytest.raises(UsageError):
        sql(index, "SELECT hex(zeroblob(100000000))")
    with pytest.raises(UsageError):
        sql(index, f"{numbers} group_concat(hex(zeroblob(1000000))) FROM n LIMIT 1")
    assert sql(index, "SELECT 1 AS one") == [["one"], [1]]
