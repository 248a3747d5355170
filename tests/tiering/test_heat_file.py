"""The heat table over a restart: the snapshot, and the file that it is in."""

from __future__ import annotations

import errno
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guards.logs import ExpectLog
from tests.support.faulty_os import FaultyOs, Point
from tests.tiering.test_heat import known_to
from tierfs.common.units import SECOND
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_file import MAGIC, VERSION, BadSnapshot, HeatFile, pack_heat, unpack_heat

NOW = 1000 * SECOND


def filled(capacity: int = 256, files: int = 100) -> Heat:
    heat = Heat(capacity)
    for second in range(0, 300, 100):
        batch = [(ino, ino, 1000 * ino) for ino in range(1, files + 1)]
        heat.feed(batch, now=second * SECOND)
    return heat


def rows(heat: Heat, now: int = 1000 * SECOND) -> dict[int, object]:
    return {ino: (heat.look(ino, now), heat.visits(ino, now)) for ino in known_to(heat)}


def test_everything_comes_back() -> None:
    heat, again = filled(), Heat(256)
    unpack_heat(again, pack_heat(heat))
    assert rows(again) == rows(heat)
    assert len(rows(again)) == 100
    assert again.typical == heat.typical == 100.0


def test_since_when_reads_were_told_comes_back() -> None:
    heat, again = filled(), Heat(1024)
    unpack_heat(again, pack_heat(heat))
    assert again.since is None
    heat.since = 17 * SECOND
    unpack_heat(again, pack_heat(heat))
    assert again.since == 17 * SECOND


@pytest.mark.parametrize("capacity", [1024, 512])
def test_a_larger_table_takes_all(capacity: int) -> None:
    heat, again = filled(), Heat(capacity)
    unpack_heat(again, pack_heat(heat))
    assert rows(again) == rows(heat)


def test_a_smaller_table_takes_what_was_visited_last() -> None:
    heat, again = filled(), Heat(16)
    heat.feed([(ino, 1, 1) for ino in range(1, 11)], now=900 * SECOND)
    unpack_heat(again, pack_heat(heat))
    kept = rows(again)
    assert len(kept) == 16
    assert set(kept) > set(range(1, 9)) or len(set(kept) & set(range(1, 11))) >= 8


def test_an_empty_table() -> None:
    again = Heat(8)
    unpack_heat(again, pack_heat(Heat(8)))
    assert rows(again) == {}


def test_a_snapshot_is_compact() -> None:
    assert len(pack_heat(Heat(1_000_000))) < 200_000


def spoilt(body: bytes, version: int = VERSION) -> bytes:
    return struct.pack("<8sII", MAGIC, version, zlib.crc32(body)) + body


BAD = {
    "is cut off": b"TFS",
    "is not a heat snapshot": bytes(100),
    "version 2; this program reads version 1": spoilt(b"", version=2),
    "checksum is wrong": pack_heat(Heat(8))[:-1],
    "cannot be unpacked": spoilt(b"x"),
    "has no table": spoilt(zlib.compress(b"x")),
    "says 9 slots, but is 33 bytes": spoilt(zlib.compress(struct.pack("<QQdQ", 9, 0, 0, 0) + b"x")),
    "says 0 slots": spoilt(zlib.compress(struct.pack("<QQdQ", 0, 0, 0, 0))),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_used_is_refused(message: str) -> None:
    heat = filled()
    before = rows(heat)
    with pytest.raises(BadSnapshot, match=message):
        unpack_heat(heat, BAD[message])
    assert rows(heat) == before


@given(st.binary(max_size=200))
def test_no_bytes_make_another_error(snapshot: bytes) -> None:
    with pytest.raises(BadSnapshot):
        unpack_heat(Heat(8), snapshot)


def heat_of(*inos: int) -> Heat:
    heat = Heat(64)
    heat.feed([(ino, 1, 100) for ino in inos], NOW)
    return heat


def known(path: Path) -> set[int]:
    heat = Heat(64)
    HeatFile(path).load(heat)
    return set(known_to(heat))


def test_it_comes_back(tmp_path: Path) -> None:
    assert HeatFile(tmp_path / "index.db").save(heat_of(1, 2))
    assert known(tmp_path / "index.db") == {1, 2}
    assert [path.name for path in tmp_path.iterdir()] == ["index.db.heat"]


def test_none_is_no_mistake(tmp_path: Path) -> None:
    assert known(tmp_path / "index.db") == set()


@pytest.mark.parametrize("step", ["open", "write", "sync", "rename"])
def test_a_failure_leaves_the_old_one(tmp_path: Path, step: str, expect_log: ExpectLog) -> None:
    expect_log("index.db.heat: cannot be written: .*No space left")
    assert HeatFile(tmp_path / "index.db").save(heat_of(1))
    broken = FaultyOs()
    broken.fail(Point(f"heat.{step}"), errno.ENOSPC)
    assert not HeatFile(tmp_path / "index.db", broken).save(heat_of(2))
    assert known(tmp_path / "index.db") == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["index.db.heat"]


def test_one_that_cannot_be_read_is_left_out(tmp_path: Path, expect_log: ExpectLog) -> None:
    expect_log("index.db.heat: .*Input/output error")
    assert HeatFile(tmp_path / "index.db").save(heat_of(1))
    broken, heat = FaultyOs(), Heat(64)
    broken.fail(Point("heat.read"), errno.EIO)
    HeatFile(tmp_path / "index.db", broken).load(heat)
    assert known_to(heat) == []
