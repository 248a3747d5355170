"""Where files lie on the drive, and who of those that wait is next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.disk.layout import BLOCK, Layout, Run
from tests.benchmarks.disk.model import Queue, Request

FILE_BLOCKS = 16


def test_neighbours_in_the_order_of_creation_are_neighbours() -> None:
    layout = Layout()
    layout.wrote(11, 0, 3 * BLOCK)
    layout.wrote(7, 0, 100)
    layout.wrote(9, 0, BLOCK)
    assert layout.runs(7, 0, 100) == [Run(3 * BLOCK, 100)]
    assert layout.runs(9, 0, BLOCK) == [Run(4 * BLOCK, BLOCK)]
    assert layout.runs(11, BLOCK, 10) == [Run(BLOCK, 10)]


def test_files_written_side_by_side_do_not_mix() -> None:
    layout = Layout()
    for number in range(8):
        for ino in (1, 2):
            layout.wrote(ino, number * BLOCK, BLOCK)
    assert layout.runs(2, 0, 8 * BLOCK) == [Run(8 * BLOCK, 8 * BLOCK)]


def test_a_file_that_grows_after_a_sync_goes_on_behind_all_others() -> None:
    layout = Layout()
    layout.wrote(1, 0, BLOCK)
    layout.settle()
    layout.wrote(1, BLOCK, BLOCK)
    layout.wrote(2, 0, BLOCK)
    layout.settle()
    layout.wrote(1, 2 * BLOCK, BLOCK)
    assert layout.runs(1, 0, 3 * BLOCK) == [Run(0, 2 * BLOCK), Run(3 * BLOCK, BLOCK)]


def test_a_hole_has_no_place() -> None:
    layout = Layout()
    layout.wrote(1, 64 * 1024, BLOCK)
    assert layout.runs(1, 0, 64 * 1024) == []
    assert layout.runs(1, 0, 128 * 1024) == [Run(0, BLOCK)]
    assert layout.end == BLOCK


def test_writing_again_keeps_the_place() -> None:
    layout = Layout()
    layout.wrote(1, 0, 4 * BLOCK)
    layout.wrote(2, 0, BLOCK)
    before = layout.runs(1, 0, 4 * BLOCK)
    layout.wrote(1, BLOCK, BLOCK)
    assert layout.runs(1, 0, 4 * BLOCK) == before


def test_a_cut_file_lost_its_end() -> None:
    layout = Layout()
    layout.wrote(1, 0, 4 * BLOCK)
    layout.settle()
    layout.wrote(1, 4 * BLOCK, 4 * BLOCK)
    layout.cut(1, BLOCK + 1)
    assert layout.runs(1, 0, 8 * BLOCK) == [Run(0, 2 * BLOCK)]
    layout.cut(1, 0)
    assert layout.runs(1, 0, 8 * BLOCK) == []


def test_a_removed_file_has_no_place_and_leaves_the_others_theirs() -> None:
    layout = Layout()
    layout.wrote(1, 0, BLOCK)
    layout.wrote(2, 0, BLOCK)
    layout.remove(1)
    assert layout.runs(1, 0, BLOCK) == []
    assert layout.runs(2, 0, BLOCK) == [Run(0, BLOCK)]


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.integers(0, FILE_BLOCKS - 1),
            st.integers(1, FILE_BLOCKS),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_every_written_block_has_one_place_of_its_own(
    writes: list[tuple[int, int, int, bool]],
) -> None:
    layout, written = Layout(), set()
    for ino, start, count, settle in writes:
        layout.wrote(ino, start * BLOCK, count * BLOCK)
        written |= {(ino, block) for block in range(start, start + count)}
        if settle:
            layout.settle()
    places: list[int] = []
    for ino in (1, 2, 3):
        for block in range(2 * FILE_BLOCKS):
            runs = layout.runs(ino, block * BLOCK, BLOCK)
            assert [run.length for run in runs] == [BLOCK] * ((ino, block) in written)
            places += [run.address for run in runs]
    assert sorted(places) == [number * BLOCK for number in range(len(written))]
    assert layout.end == len(written) * BLOCK


def order_of(queue: Queue, head: int, now: float = 0.0) -> list[int]:
    addresses = []
    while request := queue.take(now, head):
        addresses.append(request.address)
        head = request.address + request.length
    return addresses


def test_the_elevator_sweeps_upwards_and_jumps_back() -> None:
    queue = Queue("elevator")
    for address in (50, 10, 90, 30, 70):
        queue.add(Request(address, 1, 0.0))
    assert order_of(queue, head=40) == [50, 70, 90, 10, 30]


def test_fifo_serves_as_they_came() -> None:
    queue = Queue("fifo")
    for address in (50, 10, 90):
        queue.add(Request(address, 1, 0.0))
    assert order_of(queue, head=40) == [50, 10, 90]


def test_who_has_waited_for_half_a_second_goes_first() -> None:
    queue = Queue("elevator")
    for arrived, address in ((0.0, 10), (0.4, 60), (0.4, 50)):
        queue.add(Request(address, 1, arrived))
    assert order_of(queue, head=40, now=0.6) == [10, 50, 60]
