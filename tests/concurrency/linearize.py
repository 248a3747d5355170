"""Which states a shared directory may be in after what several processes did to it.

Every call took effect at some instant between its beginning and its end; in which order, nobody
knows. This keeps every state that some order leads to and in which every call had the outcome
that was seen. None left: the filesystem did what no order of the calls explains (Herlihy and
Wing, "Linearizability", 1990; the search is that of Wing and Gong, "Testing and verifying
concurrent objects", 1993, with the order of each call put off until its end).

A listing takes effect at no instant (readdir(3): "If a file is removed from or added to the
directory after the most recent call to opendir() or rewinddir(), whether a subsequent call to
readdir() returns an entry for that file is unspecified"): what was there from its beginning to
its end is listed once, what was never there meanwhile is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.concurrency.calls import CALLS, Event, path_of
from tests.concurrency.tree import Tree

MOST = 20_000
"""States at most; more cannot be told apart in reasonable time."""

SHOWN = 12
"""Calls shown before the one that cannot be explained."""


class Unexplained(AssertionError):
    """No order of the calls gives the outcomes that were seen."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What a directory has held since a listing of it began; the entries are None without it."""

    throughout: frozenset[tuple[str, int]]
    ever: frozenset[str]
    absent: bool
    present: bool

    def after(self, entries: frozenset[tuple[str, int]] | None) -> Watch:
        """The same after a call that left these entries."""
        now = entries or frozenset()
        return Watch(
            self.throughout & now,
            self.ever | {name for name, _ in now},
            self.absent or entries is None,
            self.present or entries is not None,
        )

    def allows(self, event: Event) -> bool:
        """Whether the listing may have had this outcome."""
        if not isinstance(event.outcome, list):
            return self.absent and event.outcome == "ENOENT"
        listed = [str(name) for name in event.outcome]
        once = all(listed.count(name) == 1 for name, _ in self.throughout)
        return self.present and once and self.ever.issuperset(listed)


def first_look(entries: frozenset[tuple[str, int]] | None) -> Watch:
    """When a listing begins."""
    now = entries or frozenset()
    return Watch(now, frozenset(name for name, _ in now), entries is None, entries is not None)


@dataclass(frozen=True, slots=True)
class State:
    """A model, those of the calls under way that took effect in it, and the listings under way."""

    model: Tree
    done: frozenset[int] = frozenset()
    watches: dict[int, Watch] = field(default_factory=dict)

    def key(self) -> object:
        """Equal for states from which the same may follow."""
        return self.done, self.model.key(), tuple(sorted(self.watches.items(), key=_first))


def explain(history: list[Event]) -> list[Tree]:
    """Every model that the filesystem may now equal; Unexplained if there is none."""
    search = _Search([event for event in history if event.call.name in CALLS])
    for is_end, index in search.instants():
        if is_end:
            search.end(index)
        else:
            search.begin(index)
    return [state.model for state in search.states]


class _Search:
    """The states that are possible at an instant of a history."""

    def __init__(self, history: list[Event]) -> None:
        self.states = [State(Tree())]
        self._history = history
        self._under_way: set[int] = set()

    def instants(self) -> list[tuple[bool, int]]:
        """Beginnings and ends in their order, a beginning first where both are equal."""
        begins = [(event.began_ns, False, index) for index, event in enumerate(self._history)]
        ends = [(event.ended_ns, True, index) for index, event in enumerate(self._history)]
        return [(is_end, index) for _, is_end, index in sorted(begins + ends)]

    def begin(self, index: int) -> None:
        """A call begins."""
        event = self._history[index]
        if event.call.name != "list":
            self._under_way.add(index)
            return
        path = path_of(event.call)
        self.states = [
            State(s.model, s.done, {**s.watches, index: first_look(s.model.entries(path))})
            for s in self.states
        ]

    def end(self, index: int) -> None:
        """It ends, so that it must have taken effect."""
        if self._history[index].call.name == "list":
            self.states = self._listed(index)
        else:
            self.states = self._after(index)
            self._under_way.remove(index)
        if not self.states:
            raise Unexplained(_report(index, self._history))
        assert len(self.states) <= MOST, "the calls overlap too much to be told apart"

    def _listed(self, index: int) -> list[State]:
        """The states in which a listing may be what it was, each way that leads there."""
        # Calls under way may have changed the directory already, though nobody had to know.
        found: dict[object, State] = {}
        for state in self._reachable(self.states):
            if state.watches[index].allows(self._history[index]):
                rest = {other: watch for other, watch in state.watches.items() if other != index}
                ended = State(state.model, state.done, rest)
                found[ended.key()] = ended
        return list(found.values())

    def _after(self, index: int) -> list[State]:
        event = self._history[index]
        alone = self._under_way == {index} and len(self.states) == 1
        if alone and not (self.states[0].done or self.states[0].watches):
            # The usual case: it met no other call, and needs no copy of the state before it.
            return self.states if self.states[0].model.take(event.call, event.outcome) else []
        found: dict[object, State] = {}
        for state in self._reachable(self.states, until=index):
            ended = State(state.model, state.done - {index}, state.watches)
            found[ended.key()] = ended
        return list(found.values())

    def _reachable(self, states: list[State], until: int | None = None) -> list[State]:
        """The states that calls under way lead to; `until`: only those where this call is done."""
        seen: set[object] = set()
        found, todo = [], list(states)
        while todo:
            state = todo.pop()
            if until is None or until in state.done:
                found.append(state)
            if until in state.done:
                continue
            for following in self._next(state):
                if (key := following.key()) not in seen:
                    seen.add(key)
                    todo.append(following)
        return found

    def _next(self, state: State) -> list[State]:
        """The states that one more call leads to."""
        following = []
        for index in self._under_way - state.done:
            after = self._take(state, index)
            if after is not None and not after.model.changed:
                # It changed nothing: whatever is possible without it is possible after it.
                return [after]
            following += [after] if after else []
        return following

    def _take(self, state: State, index: int) -> State | None:
        """Let a call take effect now; None if it would not have had its outcome."""
        model, event = state.model.copy(), self._history[index]
        if not model.take(event.call, event.outcome):
            return None
        watches = {
            listing: watch.after(model.entries(path_of(self._history[listing].call)))
            for listing, watch in state.watches.items()
        }
        return State(model, state.done | {index}, watches)


def _first(pair: tuple[int, Watch]) -> int:
    return pair[0]


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
