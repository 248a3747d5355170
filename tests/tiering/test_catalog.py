"""The index as the engine reads it, beside the writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.fs.calls import DIRECTORY, file_of, make
from tests.support.volumes import LooseVolume
from tierfs.metadata.index import IndexCatalog
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.tiering.ports import ScanCursor


@pytest.fixture
def catalog(small: LooseVolume) -> Iterator[IndexCatalog]:
    with closing(IndexCatalog(small.index)) as catalog:
        yield catalog


def one_scan(cursor: ScanCursor) -> Iterator[Inode]:
    scans = cursor.scans
    while cursor.scans == scans:
        yield from cursor.rows()


def test_a_scan_meets_every_file_once(small: LooseVolume, catalog: IndexCatalog) -> None:
    numbers = [file_of(small, b"x", b"%d" % n) for n in range(300)]
    small.fs.names.unlink(ROOT, b"7")
    make(small, b"directory", DIRECTORY)
    cursor = ScanCursor(catalog, on_flash=False)
    for _ in range(2):
        met = [row.ino for row in one_scan(cursor)]
        assert met == [ino for ino in numbers if ino != numbers[7]]
    assert cursor.scans == 2


def test_a_scan_of_flash_meets_what_has_bytes_there(
    small: LooseVolume, catalog: IndexCatalog
) -> None:
    make(small, b"empty")
    full = file_of(small, b"x", b"full")
    gone = file_of(small, b"x", b"gone")
    with small.index.transaction():
        row = small.index.inodes.get(gone)
        small.index.inodes.update(row._replace(prefix=0))
    met = [row.ino for row in one_scan(ScanCursor(catalog, on_flash=True))]
    assert met == [full]


def test_files_are_known_by_all_their_paths(small: LooseVolume, catalog: IndexCatalog) -> None:
    upper = make(small, b"upper", DIRECTORY).ino
    lower = make(small, b"lower", DIRECTORY, upper).ino
    inside = make(small, b"inside", parent=lower)
    renamed = make(small, b"was", parent=lower)
    small.fs.names.rename(lower, b"was", lower, b"is")
    moved = file_of(small, b"x", b"moved")
    small.fs.names.rename(ROOT, b"moved", lower, b"moved")
    linked = file_of(small, b"x", b"linked")
    small.fs.names.link(linked, ROOT, b"again")
    away = make(small, b"away", DIRECTORY).ino
    small.fs.names.rename(ROOT, b"away", upper, b"home")
    far = make(small, b"far", parent=away)
    rows = catalog.some([inside.ino, renamed.ino, moved, linked, far.ino])
    paths = {ino: sorted(found) for ino, found in catalog.paths(rows).items()}
    assert paths == {
        inside.ino: [b"/upper/lower/inside"],
        renamed.ino: [b"/upper/lower/is"],
        moved: [b"/upper/lower/moved"],
        linked: [b"/linked"],
        far.ino: [b"/upper/home/far"],
    }


def test_attributes_and_rows_are_found_by_number(small: LooseVolume, catalog: IndexCatalog) -> None:
    ino = file_of(small, b"x")
    small.fs.xattrs.set(ino, b"user.state", b"archived")
    assert catalog.xattr(ino, b"user.state") == b"archived"
    assert catalog.xattr(ino, b"user.other") is None
    assert [row.ino for row in catalog.some([ino, 12345, ROOT])] == [ino]


def test_pins_and_requests_are_read_and_settled(small: LooseVolume, catalog: IndexCatalog) -> None:
    noted = small.index.pins_and_requests
    with small.index.transaction():
        for ino in (1, 2, 3):
            noted.pin(Pin(ino, 100 * ino))
            noted.request(Request(ino, ino))
    rows = [row._replace(ino=ino) for ino in (1, 2, 3, 4) for row in [small.index.inodes.get(ROOT)]]
    assert catalog.pinned(rows, 150) == {2: 2, 3: 3}
    assert catalog.pins(1, 1) == [Pin(2, 200)]
    assert catalog.requests(0, 2) == [Request(1, 1), Request(2, 2)]
    with small.index.transaction():
        noted.pin(Pin(1, None))
        noted.request(Request(2, 99))
    catalog.settle([Request(1, 1), Request(2, 2)], [Pin(1, 100), Pin(2, 200)])
    assert catalog.pins(0, 9) == [Pin(1, None), Pin(3, 300)]
    assert catalog.requests(0, 9) == [Request(2, 99), Request(3, 3)]
