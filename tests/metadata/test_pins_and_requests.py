from __future__ import annotations

from tierfs.metadata.index import Index
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.metadata.reader import IndexReader


def test_pins_in_the_order_of_inodes(index: Index, reader: IndexReader) -> None:
    with index.transaction():
        for pin in (Pin(9, None), Pin(3, 7), Pin(5, 6), Pin(3, 8)):
            index.pins_and_requests.pin(pin)
    assert reader.pins(0, 2) == [Pin(3, 8), Pin(5, 6)]
    assert reader.pins(5, 2) == [Pin(9, None)]
    assert (index.pins_and_requests.pin_of(9), index.pins_and_requests.pin_of(4)) == (
        Pin(9, None),
        None,
    )


def test_unpinning_tells_whether_there_was_a_pin(index: Index) -> None:
    with index.transaction():
        index.pins_and_requests.pin(Pin(3, None))
        assert index.pins_and_requests.unpin(3)
        assert not index.pins_and_requests.unpin(3)


def test_requests_in_the_order_of_inodes(index: Index, reader: IndexReader) -> None:
    with index.transaction():
        for request in (Request(9, 0), Request(3, 4096), Request(3, 8192)):
            index.pins_and_requests.request(request)
    assert reader.requests(0, 1) == [Request(3, 8192)]
    assert reader.requests(3, 9) == [Request(9, 0)]
    assert index.pins_and_requests.request_of(4) is None


def test_a_newer_request_outlives_the_end_of_an_older(index: Index) -> None:
    with index.transaction():
        index.pins_and_requests.request(Request(3, 4096))
        index.pins_and_requests.request(Request(3, 0))
        index.pins_and_requests.settle(Request(3, 4096))
    assert index.pins_and_requests.request_of(3) == Request(3, 0)
    with index.transaction():
        index.pins_and_requests.settle(Request(3, 0))
    assert index.pins_and_requests.request_of(3) is None


def test_an_inode_that_is_gone_leaves_nothing(index: Index, reader: IndexReader) -> None:
    with index.transaction():
        for ino in (3, 4):
            index.pins_and_requests.pin(Pin(ino, None))
            index.pins_and_requests.request(Request(ino, 0))
        index.pins_and_requests.forget(3)
    assert (reader.pins(0, 9), reader.requests(0, 9)) == (
        [Pin(4, None)],
        [Request(4, 0)],
    )
