"""What a tree must look like after a crash: the journal, replayed on a native directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.crash.journal import read_journal
from tests.crash.operations import Operation, apply
from tests.support.trees import Entry, differences, snapshot


class Oracle:
    """A native tree that has seen every operation of one writer that returned success."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.root = root

    def check(self, actual: Path, journal: Path) -> list[str]:
        """Differences between `actual` and what the journal says, none if all is well.

        The operation in flight at the crash may have happened or not, or a write in part; what
        `actual` shows of it is taken over, so that the next round starts from there.
        """
        finished, pending = read_journal(journal)
        for operation in finished:
            apply(self.root, operation)
        found = self._compare(actual)
        if not found or pending is None:
            return found
        before = self._content(pending)
        apply(self.root, pending)
        if before is not None:
            self._accept_part(actual, pending, before)
        return self._compare(actual) and [*found, f"in flight: {pending}"]

    def _compare(self, actual: Path) -> list[str]:
        return differences(_lasting(self.root), _lasting(actual))

    def _content(self, operation: Operation) -> bytes | None:
        """What a write is about to change; None for operations that are not writes."""
        if operation.kind not in {"write", "append"}:
            return None
        return (self.root / operation.path).read_bytes()

    def _accept_part(self, actual: Path, operation: Operation, before: bytes) -> None:
        """Take over what is there of an interrupted write, if each byte is an old or a new one."""
        after = (self.root / operation.path).read_bytes()
        if not (actual / operation.path).is_file():
            return
        there = (actual / operation.path).read_bytes()
        if is_mixture(there, before, after):
            (self.root / operation.path).write_bytes(there)


def is_mixture(there: bytes, before: bytes, after: bytes) -> bool:
    """Whether `there` is `before` with some of the bytes that a write makes `after` of it."""
    if not len(before) <= len(there) <= len(after):
        return False
    old = before.ljust(len(there), b"\0")
    return all(one in pair for one, *pair in zip(there, old, after, strict=False))


def _lasting(root: Path) -> dict[bytes, Entry]:
    """The tree without its times, which a replay cannot have."""
    return {name: replace(entry, modified_ns=0) for name, entry in snapshot(root).items()}
