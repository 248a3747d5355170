"""The checkers see what they are there to see."""

from __future__ import annotations

import pytest

from tests.concurrency.history import Event, stuck_at
from tests.concurrency.namespace import initial, step
from tests.concurrency.records import record_of, turns_by_writer
from tests.concurrency.worker import is_pattern, pattern


def events(*rows: tuple[int, int, str, object]) -> list[Event]:
    """From start, end, the call with its arguments, and the outcome."""
    return [
        Event(start, end, words.split()[0], tuple(words.split()[1:]), outcome)
        for start, end, words, outcome in rows
    ]


def possible(*histories: list[Event]) -> bool:
    return stuck_at(histories, initial(("d",)), step) == []


def test_calls_one_after_the_other() -> None:
    one = events((0, 1, "create a", 7), (4, 5, "look a", "ENOENT"))
    other = events((2, 3, "unlink a", None))
    assert possible(one, other)


def test_two_cannot_make_one_name() -> None:
    assert not possible(events((0, 9, "create a", 7)), events((0, 9, "create a", 8)))
    assert possible(events((0, 9, "create a", 7)), events((0, 9, "create a", "EEXIST")))


def test_what_ended_before_cannot_be_missed() -> None:
    made = events((0, 1, "create a", 7))
    assert not possible(made, events((2, 3, "look a", "ENOENT")))
    assert possible(made, events((1, 3, "look a", "ENOENT")))


def test_a_rename_never_shows_no_name_and_never_both() -> None:
    moving = events((0, 1, "create a", 7), (2, 9, "rename a b", None))
    neither = events((3, 4, "look b", "ENOENT"), (5, 6, "look a", "ENOENT"))
    assert possible(moving, neither)  # between the two looks
    again = [*neither, *events((7, 8, "look b", "ENOENT"))]
    assert not possible(moving, again)


def test_a_directory_with_a_name_is_not_removed() -> None:
    made = events((0, 1, "create d/x", 7))
    assert not possible(made, events((2, 3, "rmdir d", None)))
    assert possible(made, events((2, 3, "rmdir d", "ENOTEMPTY")))


def test_the_calls_that_do_not_fit_are_told() -> None:
    wrong = events((2, 3, "look a", 8))
    assert stuck_at([events((0, 1, "create a", 7)), wrong], initial(()), step) == wrong


def test_torn_lost_and_doubled_records_are_seen() -> None:
    first, second = record_of(0, 0, 50), record_of(1, 0, 70)
    assert turns_by_writer(first + second) == {0: [0], 1: [0]}
    assert turns_by_writer(first + first) == {0: [0, 0]}
    for torn in (first[:-1] + second, first[:30] + second + first[30:], second[1:]):
        with pytest.raises(AssertionError, match="record"):
            turns_by_writer(torn)


def test_a_byte_of_another_place_is_seen() -> None:
    assert is_pattern(bytes(5) + pattern(5, 10))
    assert not is_pattern(pattern(5, 10))
