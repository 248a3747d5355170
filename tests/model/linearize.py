"""Which states a shared directory may be in after what several processes did to it.

Every call took effect at some instant between its beginning and its end; in which order, nobody
knows. This keeps every state that some order leads to and in which every call had the outcome
that was seen. None left: the filesystem did what no order of the calls explains. (Wing and Gong,
"Testing and Verifying Concurrent Objects", with the order of each call put off until its end.)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from tests.model.history import Event, perform
from tests.model.shared import SharedModel

MOST = 20_000
"""States at most; more cannot be told apart in reasonable time."""

SHOWN = 12
"""Calls shown before the one that cannot be explained."""


@dataclass(frozen=True, slots=True)
class State:
    """A model, and those of the calls under way that have taken effect in it."""

    model: SharedModel
    done: frozenset[int]

    def key(self) -> object:
        """Equal for states from which the same may follow."""
        return self.done, self.model.fingerprint()


class Unexplained(AssertionError):
    """No order of the calls gives the outcomes that were seen."""


def possible_models(history: list[Event]) -> list[SharedModel]:
    """Every model that the filesystem may now equal; Unexplained if there is none."""
    states = [State(SharedModel(), frozenset())]
    under_way: set[int] = set()
    for is_end, index in _instants(history):
        if not is_end:
            under_way.add(index)
            continue
        states = _after(index, states, under_way, history)
        under_way.remove(index)
        if not states:
            raise Unexplained(_report(index, history))
        assert len(states) <= MOST, "the calls overlap too much to be told apart"
    return [state.model for state in states]


def _instants(history: list[Event]) -> list[tuple[bool, int]]:
    """Beginnings and ends of the calls in their order, a beginning first where both are equal."""
    begins = [(event.began_ns, False, index) for index, event in enumerate(history)]
    ends = [(event.ended_ns, True, index) for index, event in enumerate(history)]
    return [(is_end, index) for _, is_end, index in sorted(begins + ends)]


def _after(
    index: int, states: list[State], under_way: set[int], history: list[Event]
) -> list[State]:
    """The states once call `index` has ended, so that it must have taken effect."""
    if under_way == {index} and len(states) == 1 and not states[0].done:
        # The usual case: it met no other call, and needs no copy of the state before it.
        event = history[index]
        return states if perform(states[0].model, event.call) == event.outcome else []
    found: dict[object, State] = {}
    seen: set[object] = set()
    todo = list(states)
    while todo:
        state = todo.pop()
        if index in state.done:
            ended = State(state.model, state.done - {index})
            found[ended.key()] = ended
            continue
        for other in under_way - state.done:
            following = _take(state, other, history[other])
            if following is not None and (key := following.key()) not in seen:
                seen.add(key)
                todo.append(following)
    return list(found.values())


def _take(state: State, index: int, event: Event) -> State | None:
    """Let a call take effect now; None if it would not have had its outcome."""
    model = copy.deepcopy(state.model)
    if perform(model, event.call) != event.outcome:
        return None
    return State(model, state.done | {index})


def _report(index: int, history: list[Event]) -> str:
    bad = history[index]
    before = [event for event in history if event.began_ns <= bad.ended_ns]
    lines = [_line(event, bad) for event in before[-SHOWN:]]
    return "\n".join(["no order of these calls explains the last one to end:", *lines])


def _line(event: Event, bad: Event) -> str:
    mark = ">" if event is bad else " "
    span = f"{event.began_ns - bad.ended_ns:>12} .. {event.ended_ns - bad.ended_ns:>12} ns"
    call = event.call
    what = f"{call.name} {' '.join(call.paths)} {call.handle} {call.numbers}"
    return f"{mark} worker {event.worker} {span}  {what} -> {event.outcome}"
