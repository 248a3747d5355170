from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fs import scenarios
from tests.fs.calls import DIRECTORY, FIFO, SYMLINK, fails, file_of, make
from tests.fs.scenarios import HEAD, pattern
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import Damage
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.inodes import ROOT

GIB = 1024**3
DATA = pattern(10_000)


@contextmanager
def statements(volume: LooseVolume) -> Iterator[list[str]]:
    """The SQL that is run inside."""
    seen: list[str] = []
    connection = volume.index._database._connection
    connection.set_trace_callback(seen.append)
    try:
        yield seen
    finally:
        connection.set_trace_callback(None)


def test_no_sql_for_a_read_of_data(volume: LooseVolume) -> None:
    ino = file_of(volume, pattern(3 * volume.head))
    with statements(volume) as seen:
        for offset in (0, 1, volume.head - 1, volume.head, 2 * volume.head, 3 * volume.head):
            volume.fs.reads.read(ino, offset, 5000)
        assert seen == []
        volume.index.inodes.forget_cached()
        volume.fs.reads.read(ino, 0, 1)
        assert len(seen) == 1


def test_attributes_that_are_cached_need_no_sql(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    with statements(small) as seen:
        small.fs.attributes.get(ino)
    assert seen == []


@pytest.mark.parametrize("length", [0, 1, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD])
def test_a_file_is_read_as_it_was_written(small: LooseVolume, length: int) -> None:
    ino = file_of(small, pattern(length))
    for offset in (0, 1, HEAD - 1, HEAD, HEAD + 1, length, length + 1, 10**15):
        for size in (0, 1, HEAD, 10 * HEAD):
            found = small.fs.reads.read(ino, offset, size)
            assert found == pattern(length)[offset : offset + size]


def test_the_head_is_on_flash_and_the_rest_on_disk_only(volume: LooseVolume) -> None:
    data = pattern(3 * volume.head)
    ino = file_of(volume, data)
    assert volume.flash_object(ino).read_bytes() == data[: volume.head]
    disk = volume.disk_object(ino).read_bytes()
    assert disk == bytes(volume.head) + data[volume.head :]
    if volume.head >= 65536:
        assert volume.disk_object(ino).stat().st_blocks * 512 == 2 * volume.head


def test_holes_are_zeros_on_both_sides_of_the_prefix(small: LooseVolume) -> None:
    ino = file_of(small, b"begin")
    small.fs.data.write(ino, 3 * HEAD, b"end")
    expected = b"begin".ljust(3 * HEAD, b"\0") + b"end"
    assert small.fs.reads.read(ino, 0, 10**6) == expected
    small.fs.data.truncate(ino, 5 * HEAD)
    assert small.fs.reads.read(ino, 0, 10**6) == expected.ljust(5 * HEAD, b"\0")


def test_what_was_cut_never_comes_back(small: LooseVolume) -> None:
    """Neither before nor after it was trimmed."""
    for trim in (False, True):
        ino = file_of(small, DATA, b"%d" % trim)
        small.fs.data.truncate(ino, 10)
        if trim:
            small.fs.reclaimer.drain()
        small.fs.data.truncate(ino, 3000)
        small.fs.data.write(ino, 6000, b"end")
        expected = DATA[:10].ljust(6000, b"\0") + b"end"
        assert small.fs.reads.read(ino, 0, 10**6) == expected


def test_files_beyond_four_gibibytes(small: LooseVolume) -> None:
    ino = make(small, b"far").ino
    small.fs.data.write(ino, 5 * GIB, b"far")
    assert small.fs.attributes.get(ino).size == 5 * GIB + 3
    assert small.fs.reads.read(ino, 5 * GIB - 2, 10) == b"\0\0far"
    small.fs.data.truncate(ino, 4 * GIB + 1)
    assert small.fs.reads.read(ino, 4 * GIB, 10) == b"\0"


def test_the_largest_offset(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    with fails(errno.EFBIG):
        small.fs.data.write(ino, 2**63 - 2, b"ab")
    assert small.fs.attributes.get(ino).size == 0


@pytest.mark.parametrize(
    ("mode", "code"), [(DIRECTORY, errno.EISDIR), (FIFO, errno.EINVAL), (SYMLINK, errno.EINVAL)]
)
def test_only_a_regular_file_has_bytes(small: LooseVolume, mode: int, code: int) -> None:
    ino = make(small, b"name", mode).ino
    for call in (
        lambda: small.fs.reads.read(ino, 0, 1),
        lambda: small.fs.data.truncate(ino, 0),
        lambda: small.fs.data.sync(ino),
    ):
        with fails(code):
            call()
    with fails(code):
        small.fs.data.write(ino, 0, b"a")


def test_a_read_of_the_head_never_waits(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    assert small.fs.reads.read(ino, 0, HEAD, wait=False) == DATA[:HEAD]
    small.os.clear()
    with pytest.raises(WouldBlock):
        small.fs.reads.read(ino, 0, HEAD + 1, wait=False)
    assert small.os.labels == []


def test_a_write_of_the_head_never_waits(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.data.write(ino, 0, b"abc", wait=False)
    for offset in (HEAD - 1, HEAD, 9000):
        with pytest.raises(WouldBlock):
            small.fs.data.write(ino, offset, b"abc", wait=False)
    with pytest.raises(WouldBlock):
        small.fs.data.truncate(ino, 20_000, wait=False)
    small.fs.data.truncate(ino, 9000, wait=False)
    assert small.fs.reads.read(ino, 0, 10**6) == b"abc" + DATA[3:9000]


def test_who_is_told_to_wait_can_do_it_again(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    with small.fs.data._locks.hold(ino), pytest.raises(WouldBlock):
        small.fs.data.write(ino, 0, b"abc", wait=False)
    small.os.full = {"flash.pwrite"}
    with pytest.raises(WouldBlock):
        small.fs.data.write(ino, 0, b"abc", wait=False)
    assert small.fs.data.write(ino, 0, b"abc") == 3
    assert small.fs.reads.read(ino, 0, 10**6) == b"abc" + DATA[3:]


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


HURT: dict[str, Callable[[LooseVolume, int], object]] = {
    "read": lambda volume, ino: volume.fs.reads.read(ino, 0, 10**6),
    "overwrite": lambda volume, ino: volume.fs.data.write(ino, HEAD - 100, b"x" * 200),
    "append": lambda volume, ino: volume.fs.data.write(ino, 10_000, b"x"),
    "extend": lambda volume, ino: volume.fs.data.truncate(ino, 20_000),
}


@pytest.mark.parametrize("harm", [remove, shorten])
@pytest.mark.parametrize("tier", ["flash", "disk"])
@pytest.mark.parametrize("act", HURT.values(), ids=HURT.keys())
def test_damage_is_told_and_never_hidden(
    small: LooseVolume,
    tier: str,
    harm: Callable[[Path], None],
    act: Callable[[LooseVolume, int], object],
    expect_log: ExpectLog,
) -> None:
    """No call makes zeros of lost bytes, and a neighbour is not touched."""
    other = file_of(small, DATA, b"other")
    ino = file_of(small, DATA)
    harm(small.flash_object(ino) if tier == "flash" else small.disk_object(ino))
    expect_log(rf"^/file: inode {ino}: its {tier} object ", required=False)
    if tier == "disk" or act in (HURT["read"], HURT["overwrite"]):
        with fails(errno.EIO):
            act(small, ino)
        assert small.metrics.registry.get_sample_value("tierfs_damage_total") == 1
    else:
        act(small, ino)
    with fails(errno.EIO):
        small.fs.reads.read(ino, 0, 10**6)
    assert small.fs.reads.read(other, 0, 10**6) == DATA


def test_a_file_that_lost_its_head_is_not_spilled(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    ino = file_of(small, DATA)
    small.flash_object(ino).unlink()
    expect_log("its flash object is missing")
    small.os.full = {"flash.pwrite"}
    with fails(errno.EIO):
        small.fs.data.write(ino, 0, b"x")
    assert small.fs.attributes.get(ino).prefix == HEAD


def test_a_damaged_file_can_be_emptied_and_used_again(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.flash_object(ino).unlink()
    small.disk_object(ino).unlink()
    small.fs.data.truncate(ino, 0)
    small.fs.data.write(ino, 0, DATA[::-1])
    assert small.fs.reads.read(ino, 0, 10**6) == DATA[::-1]


def test_damage_is_no_other_error(small: LooseVolume, expect_log: ExpectLog) -> None:
    ino = file_of(small, DATA)
    small.flash_object(ino).unlink()
    expect_log("/file: .*is missing")
    with pytest.raises(Damage) as damage:
        small.fs.reads.read(ino, 0, 1)
    assert damage.value.ino == ino
    with pytest.raises(Damage):
        small.fs.data.sync(ino)


def test_an_io_error_is_no_damage(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.os.clear()
    small.os.fail(Point("flash.pread"), errno.EIO)
    with pytest.raises(OSError, match="Input"):
        small.fs.reads.read(ino, 0, 1)
    assert small.metrics.registry.get_sample_value("tierfs_damage_total") == 0
    assert small.fs.reads.read(ino, 0, 1) == DATA[:1]


def test_sync_is_flash_then_disk_then_index(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.os.clear()
    small.fs.data.sync(ino)
    synced = [label for label in small.os.labels if "sync" in label]
    assert synced == [
        "flash.fdatasync",
        "flash.fsync_directory",
        "disk.fdatasync",
        "disk.fsync_directory",
        "index.sync",
    ]


def test_a_sync_makes_the_removal_of_a_tail_durable(small: LooseVolume) -> None:
    """A power cut could bring the object back, and its length would count."""
    ino = file_of(small, DATA)
    small.fs.data.sync(ino)
    small.fs.data.truncate(ino, 10)
    small.os.clear()
    small.fs.data.sync(ino)
    removed = small.os.labels.index("disk.unlink")
    assert "disk.fsync_directory" in small.os.labels[removed:]


def test_an_empty_file_syncs_the_index_alone(small: LooseVolume) -> None:
    ino = make(small, b"empty").ino
    small.os.clear()
    small.fs.data.sync(ino)
    assert small.os.labels == ["index.sync"]


def test_bytes_are_counted_by_tier(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.reads.read(ino, HEAD - 10, 30)
    counted = {
        (kind, tier): small.metrics.registry.get_sample_value(
            f"tierfs_{kind}_bytes_total", {"tier": tier}
        )
        for kind in ("read", "written")
        for tier in ("flash", "disk")
    }
    assert counted == {
        ("read", "flash"): 10,
        ("read", "disk"): 20,
        ("written", "flash"): HEAD,
        ("written", "disk"): 10_000 - HEAD,
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[LooseVolume]:
    with scenarios.template() as volume:
        volume.open()
        yield volume
        volume.close()


sizes = st.integers(0, 3 * HEAD) | st.sampled_from([0, HEAD - 1, HEAD, HEAD + 1])
steps = st.one_of(
    st.tuples(st.just("write"), sizes, st.integers(1, 5000)),
    st.tuples(st.just("truncate"), sizes, st.just(0)),
    st.tuples(st.just("drain"), st.just(0), st.just(0)),
    st.tuples(st.just("full"), st.integers(0, 1), st.just(0)),
)


@given(st.lists(steps, max_size=15))
@settings(max_examples=60, deadline=None)
def test_a_file_is_an_array_of_bytes(
    shared: LooseVolume, sequence: list[tuple[str, int, int]]
) -> None:
    shared.os.clear()
    name = b"array %d" % shared.clock.tick()
    ino = make(shared, name).ino
    expected = bytearray()
    for number, (action, position, length) in enumerate(sequence):
        if action == "write":
            data = pattern(length, number)
            shared.fs.data.write(ino, position, data)
            expected.extend(bytes(max(0, position - len(expected))))
            expected[position : position + length] = data
        elif action == "truncate":
            shared.fs.data.truncate(ino, position)
            expected = bytearray(bytes(expected[:position]).ljust(position, b"\0"))
        elif action == "drain":
            shared.fs.reclaimer.drain()
        else:
            shared.os.full = {"flash.pwrite"} if position else ()
        assert shared.fs.reads.read(ino, 0, 10**6) == expected
    shared.fs.names.unlink(ROOT, name)
    shared.fs.names.forget(ino)
    shared.os.clear()
    shared.fs.reclaimer.drain()  # which closes the descriptors of a dirty file
