"""Calls outside the shared directory that tell by themselves whether all is well.

They take effect at more than one instant, or on too much for a model; so their outcome is None,
or the complaint: text that is no name of an errno. What they draw, they draw from their number.
"""

from __future__ import annotations

import os
import random
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.concurrency.calls import Call, Event, Outcome, outcome_of
from tests.concurrency.records import record_of, turns_by_writer

CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY
STAYING = 1000
"""Names in the crowded directory that nobody touches: enough for several requests of the kernel."""

LENGTHS = (0, 10, 300, 5000, 70_000)
"""Bytes in a record."""

LOOSE_NAMES = ("f", "g", "sub/f", "sub/g")
EXAMPLES, STEPS = 2, 25
"""Runs of the state machine in one call, and operations of each."""


class Aside:
    """What one process does beside the shared directory."""

    def __init__(self, root: Path, worker: int, head: int) -> None:
        self._root = root
        self._worker = worker
        self._head = head
        self._turn = self._written = 0
        self._here: set[str] = set()
        self._gone: set[str] = set()
        self._log = -1

    @staticmethod
    def prepare(root: Path) -> None:
        """Make what every process finds."""
        for folder in ("crowded", "loose", "loose/sub"):
            (root / folder).mkdir()
        for number in range(STAYING):
            (root / "crowded" / f"stays-{number:06}").touch()
        (root / "records").touch()

    def perform(self, call: Call) -> Outcome:
        """Do it; None, the name of an errno, or a complaint."""
        try:
            return outcome_of(lambda: getattr(self, f"_{call.name}")(call))
        except AssertionError as error:
            # With the notes, in which hypothesis tells the way to the mismatch.
            return f"complaint: {''.join(traceback.format_exception_only(error))}"

    def leave(self) -> None:
        """Close what is open."""
        if self._log >= 0:
            os.close(self._log)

    def _record(self, call: Call) -> None:
        """Append a record with one write, now and then through a new descriptor."""
        if self._written % 10 == 0:
            self.leave()
            self._log = os.open(self._root / "records", os.O_WRONLY | os.O_APPEND)
        length = LENGTHS[call.numbers[0] % len(LENGTHS)]
        data = record_of(self._worker, self._written, length)
        self._written += 1
        half = len(data) // 2
        parts = [data] if self._written % 3 else [data[:half], data[half:]]
        assert os.writev(self._log, parts) == len(data), "a part of a record was written"

    def _records(self, call: Call) -> None:
        """Every record is there once, whole, and those of one process in their order."""
        expected = {
            number: list(range(count)) for number, count in enumerate(call.numbers) if count
        }
        assert turns_by_writer((self._root / "records").read_bytes()) == expected

    def _churn(self, _call: Call) -> None:
        """Make, rename and remove names that nobody has used before."""
        folder, turn = self._root / "crowded", self._turn
        self._turn += 1
        name = f"churn-{self._worker}-{turn}"
        os.close(os.open(folder / name, CREATE))
        if turn % 2:
            os.rename(folder / name, folder / f"{name}-renamed")
            self._gone.add(name)
            name = f"{name}-renamed"
        if turn % 3:
            os.unlink(folder / name)
        (self._gone if turn % 3 else self._here).add(name)

    def _crowded(self, _call: Call) -> None:
        """List it: no name that was there throughout is missing, none is there twice or again."""
        found = Counter(os.listdir(self._root / "crowded"))
        sure = {*self._here, *(f"stays-{number:06}" for number in range(STAYING))}
        missing = sure - found.keys()
        assert not missing, f"not listed, but there throughout: {missing}"
        twice = {name for name, count in found.items() if count > 1}
        assert not twice, f"listed twice: {twice}"
        ghosts = found.keys() & self._gone
        assert not ghosts, f"listed, but removed before: {ghosts}"

    def _alone(self, call: Call) -> None:
        """Hold a directory of one's own against the model, while the others are at work."""
        from tests.concurrency.alone import run_alone  # noqa: PLC0415 - hypothesis is slow to load

        run_alone(self._root / f"own-{self._worker}", call.numbers[0], self._head)

    # Files whose every byte belongs to its place; anything may happen to their names

    def _loose_write(self, call: Call) -> None:
        chance = random.Random(call.numbers[0])
        offset, length = _place(chance), chance.choice([1, 100, 3000])
        with _Opened(self._loose(call), os.O_WRONLY | os.O_CREAT) as fd:
            os.pwrite(fd, pattern(offset, length), offset)

    def _loose_read(self, call: Call) -> None:
        offset = _place(random.Random(call.numbers[0]))
        with _Opened(self._loose(call), os.O_RDONLY) as fd:
            data = os.pread(fd, 3000, offset)
        assert is_pattern(data, offset), f"{call.paths[0]} at {offset}: bytes that nobody wrote"

    def _loose_replace(self, call: Call) -> None:
        new = self._root / "loose" / f"new-{self._worker}"
        new.write_bytes(pattern(0, 700))
        os.rename(new, self._loose(call))

    def _loose_sync(self, call: Call) -> None:
        with _Opened(self._loose(call), os.O_RDONLY) as fd:
            os.fsync(fd)

    def _loose_truncate(self, call: Call) -> None:
        os.truncate(self._loose(call), call.numbers[0] % 100_000)

    def _loose_unlink(self, call: Call) -> None:
        os.unlink(self._loose(call))

    def _loose_rename(self, call: Call) -> None:
        os.rename(self._loose(call), self._loose(call, 1))

    def _loose_all(self, _call: Call) -> None:
        """Every file that is left has only bytes that were written."""
        files = [path for path in (self._root / "loose").rglob("*") if path.is_file()]
        for path in files:
            assert path.name in {"f", "g"}, f"{path} has a name that nobody gave"
            assert is_pattern(path.read_bytes()), f"{path} has bytes that nobody wrote"

    def _loose(self, call: Call, index: int = 0) -> Path:
        return self._root / "loose" / call.paths[index]


LOOSE_CALLS = tuple(
    f"loose_{name}" for name in ("write", "read", "replace", "sync", "truncate", "unlink", "rename")
)


class ComplaintError(AssertionError):
    """A call outside the shared directory saw what cannot be."""


def check_asides(history: list[Event], calls: Callable[[str], bool]) -> None:
    """Assert that no call but those that `calls` names complained."""
    for event in history:
        name = event.call.name
        removed = name in LOOSE_CALLS and event.outcome == "ENOENT"  # by somebody else
        if not (calls(name) or event.outcome is None or removed):
            message = f"worker {event.worker}, {event.call}: {event.outcome}"
            raise ComplaintError(message)


class _Opened:
    """A descriptor for as long as a `with` lasts."""

    def __init__(self, path: Path, flags: int) -> None:
        self._fd = os.open(path, flags)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_details: object) -> None:
        os.close(self._fd)


def _place(chance: random.Random) -> int:
    return chance.choice([0, 65_500, 65_536, chance.randrange(100_000)])


def pattern(offset: int, length: int) -> bytes:
    """The only bytes that are ever written at `offset`; none is zero."""
    return bytes((at * at + at // 256) % 255 + 1 for at in range(offset, offset + length))


def is_pattern(data: bytes, offset: int = 0) -> bool:
    """Whether each byte is what belongs to its place, or zero, from a hole."""
    expected = pattern(offset, len(data))
    return all(byte in {0, wanted} for byte, wanted in zip(data, expected, strict=True))
