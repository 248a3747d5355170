"""What is read from the disk tier is not kept below the mount, where it is kept already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.native.rig import Rig
from tests.native.test_read_ahead import READ, SIZE, cached, cold_file, drop, read
from tests.parity.places import EXT4, OTHERS, Kind, Native
from tests.support.proc import wait_until
from tierfs.common.osio import SYSTEM
from tierfs.storage.layout import object_path
from tierfs.storage.objects import ObjectStore

KINDS = [EXT4, *(kind for kind in OTHERS if kind.name == "xfs")]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def device(scratch: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A filesystem on a block device."""
    kind: Kind = request.param
    with closing(Native(scratch, kind)) as made:
        made.mount()
        yield made.path


@pytest.fixture
def rig(device: Path) -> Iterator[Rig]:
    with Rig(device, workers=1) as made:
        made.initialise()
        yield made
    made.forget()


@pytest.mark.parametrize("prefix", [0, 65536])
def test_a_file_that_is_read_through(rig: Rig, prefix: int) -> None:
    """Nearly all of it is read ahead, which brings pages that reading alone does not drop."""
    path = cold_file(rig, prefix=prefix)
    for offset in range(prefix, SIZE - READ + 1, READ):
        read(rig, offset)
    rest = SIZE - (SIZE - prefix) % READ
    if rest < SIZE:
        read(rig, SIZE - READ)
    wait_until(lambda: sum(cached(path)) == 0, what="what was read is dropped")


def test_what_comes_next_is_kept_until_it_is_read(rig: Rig) -> None:
    path = cold_file(rig, prefix=0)
    for offset in range(0, SIZE // 2, READ):
        read(rig, offset)
    half = len(cached(path)) // 2
    wait_until(lambda: any(cached(path)[half:]), what="it is read ahead")
    wait_until(lambda: sum(cached(path)[: half // 2]) == 0, what="what was read is dropped")
    assert sum(cached(path)[half:]) > 0


def test_without_the_router(device: Path) -> None:
    data = os.urandom(SIZE)
    with closing(ObjectStore("disk", device / "objects", SYSTEM)) as store:
        store.write(7, 0, data)
        path = store.root / object_path(7)
        drop(path)
        for offset in range(0, SIZE, READ):
            assert store.read(7, offset, READ, keep=False) == data[offset : offset + READ]
        assert sum(cached(path)) == 0
        assert store.read(7, 0, SIZE) == data
        assert sum(cached(path)) > 0
