"""A directory of a million entries lists completely, in the memory of a small one."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.metadata.rows import INSERT_INODES
from tests.support.fixtures import MakeMount
from tests.support.mounting import FAST_PATH

pytestmark = pytest.mark.long

ENTRIES = 1_000_000
MEMORY_KIB = 250_000 + FAST_PATH * 128 * 1024
"""What the daemon may take: SQLite's and the inodes' caches and the fast path's table are full."""

FILL = """
{insert} SELECT next_serial, 16877, 0, 0, 2, 4096, 0, 0, 0, 0, 0, 0, 1, NULL, 0, 0, 0
FROM volume;
INSERT INTO entry SELECT 1, CAST('huge' AS BLOB), next_serial, next_serial FROM volume;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {entries})
{insert}
SELECT next_serial + i, 33188, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, next_serial, NULL, 0, 0, 0
FROM n, volume;
INSERT INTO entry SELECT next_serial, CAST('name-' || ino AS BLOB), ino, ino
FROM inode, volume WHERE ino > next_serial;
UPDATE volume SET next_serial = next_serial + {entries} + 1;
UPDATE volume SET dirty_from = next_serial;
"""


@pytest.mark.timeout(300)
def test_a_million_entries(make_mount: MakeMount) -> None:
    mounted = make_mount()
    mounted.unmount()
    fill(mounted.flash / "index.db")
    mounted.mount()
    names = {entry.name for entry in os.scandir(mounted.path / "huge")}
    assert len(names) == ENTRIES
    assert peak_kib(mounted.pid) < MEMORY_KIB
    last = mounted.path / "huge" / max(names)
    last.unlink()
    assert not last.exists()


def fill(index: Path) -> None:
    """Make the directory ``huge`` behind tierfs's back: file by file it takes minutes."""
    with closing(sqlite3.connect(index)) as connection:
        connection.executescript(FILL.format(entries=ENTRIES, insert=INSERT_INODES))


def peak_kib(pid: int) -> int:
    """The most memory that a process has had, VmHWM of proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
