"""Header facts in the index: for which data version they hold, what carries and what ends them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.fs.migrating import mirror, must, place
from tests.fs.scenarios import HEAD, populate
from tests.support.volumes import LooseVolume
from tierfs.metadata.header_facts import FactState, FactValue
from tierfs.metadata.inodes import ROOT

WIDTH = "image.width"


@pytest.fixture
def full(small: LooseVolume) -> LooseVolume:
    """A volume with the files of ``scenarios``, all of them synced."""
    populate(small)
    small.fs.syncer.checkpoint()
    return small


def note(
    volume: LooseVolume, name: bytes, facts: Mapping[str, FactValue], error: str | None = None
) -> int:
    """Store facts of a file of the root; returns its inode number."""
    inode = volume.find(name)
    with volume.index.transaction():
        volume.index.header_facts.put(
            FactState(inode.ino, inode.version, "test", 1, error, 5), facts
        )
    return inode.ino


def width(volume: LooseVolume, name: bytes) -> FactValue | None:
    """What is known of a file of the root."""
    inode = volume.find(name)
    return volume.index.header_facts.find(inode.ino, inode.version, WIDTH)


def rows(volume: LooseVolume) -> int:
    """Rows in both tables."""
    database = volume.index._database
    return sum(
        int(database.rows(statement)[0][0])
        for statement in ("SELECT count(*) FROM fact", "SELECT count(*) FROM fact_state")
    )


@pytest.mark.parametrize("value", [2**53 + 1, -3, 0.5, "RGB", ""])
def test_a_fact_is_stored_as_it_is(full: LooseVolume, value: FactValue) -> None:
    note(full, b"small", {WIDTH: value})
    found = width(full, b"small")
    assert (type(found), found) == (type(value), value)


def test_new_facts_replace_all_old_ones(full: LooseVolume) -> None:
    ino = note(full, b"small", {WIDTH: 1, "image.height": 2})
    note(full, b"small", {WIDTH: 3})
    facts, version = full.index.header_facts, full.find(b"small").version
    assert [facts.find(ino, version, key) for key in (WIDTH, "image.height")] == [3, None]


def test_a_write_hides_a_fact_at_once_and_a_later_checkpoint_does_not_bring_it_back(
    full: LooseVolume,
) -> None:
    ino = note(full, b"small", {WIDTH: 7})
    full.fs.data.write(ino, 0, b"!")
    assert width(full, b"small") is None
    full.fs.syncer.checkpoint()
    assert width(full, b"small") is None


def test_a_move_carries_facts(full: LooseVolume) -> None:
    note(full, b"large", {WIDTH: 7})
    must(place(full, b"large", 0))
    assert width(full, b"large") == 7
    must(place(full, b"large", HEAD))
    assert width(full, b"large") == 7
    note(full, b"small", {WIDTH: 8})
    must(mirror(full, b"small")[0])
    assert width(full, b"small") == 8


def test_facts_of_an_older_version_are_not_carried(full: LooseVolume) -> None:
    ino = note(full, b"large", {WIDTH: 7})
    full.fs.data.truncate(ino, 2 * HEAD)
    full.fs.syncer.checkpoint()
    must(place(full, b"large", 0))
    assert width(full, b"large") is None


def test_facts_go_with_the_inode(full: LooseVolume) -> None:
    ino = note(full, b"small", {WIDTH: 7})
    full.fs.names.unlink(ROOT, b"small")
    full.fs.names.forget(ino)
    full.fs.reclaimer.drain()
    assert rows(full) == 0


def test_the_end_of_facts_is_durable_before_the_bytes_change(full: LooseVolume) -> None:
    ino = note(full, b"small", {WIDTH: 7})
    full.os.clear()
    full.fs.data.write(ino, 0, b"!")
    assert full.os.labels.index("index.sync") < full.os.labels.index("flash.pwrite")
    full.os.clear()
    full.fs.data.write(ino, 0, b"?")
    assert "index.sync" not in full.os.labels


def test_errors_are_listed_while_they_hold(full: LooseVolume) -> None:
    ino = note(full, b"small", {}, "no header")
    note(full, b"large", {WIDTH: 7})
    facts = full.index.header_facts
    assert [each.error for each in facts.errors(0, 10)] == ["no header"]
    assert not facts.errors(ino, 10)
    full.fs.data.truncate(ino, 3)
    assert not facts.errors(0, 10)
