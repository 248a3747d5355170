"""The checkers see what they are there to see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.concurrency.aside import ComplaintError, check_asides, is_pattern, pattern
from tests.concurrency.calls import CALLS, Call, Event, Outcome, perform
from tests.concurrency.linearize import Unexplained, explain
from tests.concurrency.programs import program
from tests.concurrency.records import record_of, turns_by_writer
from tests.concurrency.tree import Tree

pytestmark = pytest.mark.once

CREATE, UNLINK = Call("create", ("A/a",)), Call("unlink", ("A/a",))
LOOK, LIST = Call("look", ("A/a",)), Call("list", ("A",))
GONE = "ENOENT"
FILE = 0o100000


def event(began: int, ended: int, call: Call, outcome: Outcome = None) -> Event:
    return Event(0, began, ended, call, outcome)


def rename(source: str, target: str, flags: int = 0) -> Call:
    return Call("rename", (source, target), numbers=(flags,))


def possible(*history: Event) -> bool:
    try:
        return explain(sorted(history, key=lambda event: event.began_ns)) != []
    except Unexplained:
        return False


def test_calls_one_after_the_other_have_one_outcome() -> None:
    (model,) = explain([event(1, 2, CREATE, 70), event(3, 4, UNLINK)])
    assert model.names((b"A",)) == []


def test_two_cannot_make_one_name() -> None:
    assert not possible(event(0, 9, CREATE, 7), event(1, 9, CREATE, 8))
    assert possible(event(0, 9, CREATE, 7), event(1, 9, CREATE, "EEXIST"))


def test_two_cannot_remove_one_name() -> None:
    assert not possible(event(1, 2, CREATE, 7), event(3, 9, UNLINK), event(4, 8, UNLINK))


def test_what_ended_before_cannot_be_missed() -> None:
    made = event(0, 1, CREATE, 7)
    assert not possible(made, event(2, 3, LOOK, GONE))
    assert possible(made, event(1, 3, LOOK, GONE))


def test_a_rename_never_shows_no_name_and_never_both() -> None:
    made, moved = event(0, 1, CREATE, 7), event(2, 9, rename("A/a", "A/b"))
    there = Call("look", ("A/b",))
    neither = event(3, 4, there, GONE), event(5, 6, LOOK, GONE)
    assert possible(made, moved, *neither)  # between the two looks
    assert not possible(made, moved, *neither, event(7, 8, there, GONE))
    both = event(3, 4, there, [FILE, 7]), event(5, 6, LOOK, [FILE, 7])
    assert not possible(made, moved, *both)


def test_a_name_leads_to_the_file_that_was_given_it() -> None:
    made = event(0, 1, CREATE, 7), event(2, 3, Call("create", ("A/b",)), 8)
    swapped = event(4, 5, rename("A/a", "A/b", 2))
    assert possible(*made, swapped, event(6, 7, LOOK, [FILE, 8]))
    assert not possible(*made, swapped, event(6, 7, LOOK, [FILE, 7]))
    assert not possible(*made, event(6, 7, Call("create", ("A/c",)), 8))


def test_the_number_of_a_file_that_is_gone_may_come_back() -> None:
    assert possible(event(0, 1, CREATE, 7), event(2, 3, UNLINK), event(4, 5, CREATE, 7))


def test_a_directory_with_a_name_is_not_removed() -> None:
    made, removed = event(0, 1, Call("create", ("d/x",)), 7), Call("rmdir", ("d",))
    assert not possible(made, event(2, 3, removed))
    assert possible(made, event(2, 3, removed, "ENOTEMPTY"))


def test_calls_at_the_same_time_have_every_order_that_their_outcomes_allow() -> None:
    cuts = [
        event(12, 20 + size, Call("ftruncate", handle=0, numbers=(size,)), None) for size in (1, 2)
    ]
    opened = event(10, 11, Call("open", ("A/a",), 0))
    models = explain([event(1, 2, CREATE, 7), opened, *cuts])
    assert sorted(model.state(0) for model in models) == [[1, 1], [1, 2]]


def test_an_append_that_is_lost_is_seen() -> None:
    append, size = Call("append", ("one",), numbers=(64,)), Call("size", ("one",))
    both = event(1, 8, append, 64), event(2, 9, append, 64)
    assert possible(*both, event(3, 4, size, 64), event(10, 11, size, 128))
    assert not possible(*both, event(10, 11, size, 64))


def test_a_listing_shows_what_was_there_throughout_and_nothing_that_never_was() -> None:
    made, other = event(0, 1, CREATE, 7), event(12, 13, Call("create", ("A/b",)), 8)
    for found, fits in ((["a"], True), (["a", "b"], True), ([], False), (["a", "a"], False)):
        assert possible(made, event(10, 20, LIST, found), other) is fits
    assert not possible(made, event(10, 20, LIST, ["a", "c"]), other)


def test_a_listing_may_show_both_names_of_a_rename_or_neither() -> None:
    made, moved = event(0, 1, CREATE, 7), event(12, 13, rename("A/a", "A/b"))
    for found in ([], ["a"], ["b"], ["a", "b"]):
        assert possible(made, event(10, 20, LIST, found), moved)
    assert not possible(made, event(14, 20, LIST, ["a"]), moved)


def test_a_listing_knows_the_effect_of_a_call_that_has_not_ended() -> None:
    assert possible(event(0, 9, CREATE, 7), event(2, 3, LIST, ["a"]))
    assert possible(event(0, 9, CREATE, 7), event(2, 3, LIST, []))
    seen_and_gone = event(2, 3, LIST, ["a"]), event(4, 5, LIST, [])
    assert not possible(event(0, 9, CREATE, 7), *seen_and_gone)


def test_a_removed_directory_may_be_listed_until_it_is_gone() -> None:
    gone, listing = event(5, 6, Call("rmdir", ("d",))), Call("list", ("d",))
    assert possible(gone, event(1, 7, listing, [])), "it was there at first"
    assert possible(gone, event(1, 7, listing, GONE))
    assert not possible(gone, event(7, 8, listing, []))
    assert not possible(gone, event(1, 4, listing, GONE))


def test_the_calls_that_do_not_fit_are_told() -> None:
    with pytest.raises(Unexplained, match=r"> worker 0 .* look A/a .* ENOENT"):
        explain([event(0, 1, CREATE, 7), event(2, 3, LOOK, GONE)])


@pytest.mark.parametrize("profile", ["names", "files", "sizes", "race"])
def test_every_wrong_outcome_in_a_history_without_overlaps_is_seen(profile: str) -> None:
    history = alone(profile)
    assert explain(history)
    mutants = [(at, wrong) for at, one in enumerate(history) for wrong in mutations(one)]
    assert len(mutants) > len(history) / 2
    for at, outcome in mutants:
        wrong = replace(history[at], outcome=outcome)
        assert not possible(*history[:at], wrong), f"{history[at]} passes as {outcome}"


def alone(profile: str) -> list[Event]:
    """What one process sees that has the filesystem for itself."""
    model, events = Tree(), []
    for turn, call in enumerate(program(profile, 1, 0, 60, 4096)):
        outcome = perform(model, call)
        events.append(event(2 * turn, 2 * turn + 1, call, outcome))
    return events


def mutations(one: Event) -> list[Outcome]:
    """Outcomes that this call cannot have had; a file's number alone says nothing."""
    outcome = one.outcome
    if outcome is None:
        return ["EIO"]
    if isinstance(outcome, str):
        return [None, 1, "EIO"]
    if isinstance(outcome, int):
        return [None] if one.call.name == "create" else [outcome + 1, "EIO"]
    if one.call.name == "list":
        names = [str(name) for name in outcome]
        return [names[1:], [*names, "ghost"], names[:1] + names] if names else [["ghost"]]
    return [[int(outcome[0]) + 1, *map(int, outcome[1:])], "ENOENT"]


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


def test_complaints_are_seen_and_a_file_that_somebody_removed_is_none() -> None:
    fine = event(0, 1, Call("loose_read", ("f", "g")), "ENOENT"), event(0, 1, CREATE, "EEXIST")
    check_asides(list(fine), CALLS.__contains__)
    for call, outcome in (("record", "ENOENT"), ("crowded", "complaint: listed twice: {'a'}")):
        with pytest.raises(ComplaintError, match=outcome):
            check_asides([event(0, 1, Call(call), outcome)], CALLS.__contains__)
