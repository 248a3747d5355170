"""Waiting until files are where somebody asked them to be."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Final, Literal, NamedTuple

from tierfs.cli.byhand.files import Complaints
from tierfs.cli.byhand.place import Place, place_of
from tierfs.cli.byhand.wishes import TO_FLASH, Wish

POLL_S: Final = 0.2
"""Seconds between two looks."""

LOOKS: Final = 200
"""Files looked at in one: a tenth of a second of the daemon's time or less."""

WHY: Final = (
    "the mount gave it up, as when a tier has no room, a rule pins the file, "
    "or somebody asked for something else"
)

NO_ROOM: Final = {
    "room": "flash has no room for it, and what may leave flash is too little",
    "inodes": "flash has no inode for it, and no file may leave flash",
}
"""By the reason for which a file is stuck."""

STAYS_PINNED: Final = "it stays pinned and comes when there is; tierfs unpin or demote others"

State = Literal["reached", "asked", "stuck", "given up"]


class Asked(NamedTuple):
    """A file of which something was asked, and the bytes that are to be moved for it."""

    path: bytes
    bytes: int


Watch = Callable[[Asked], None]
"""Called for each file that needs no more waiting."""


def state_of(wish: Wish, place: Place) -> State:
    """What became of a wish."""
    if wish.reached(place):
        return "reached"
    if wish.direction == TO_FLASH and place.stuck:
        return "stuck"
    return "asked" if wish.asked(place) else "given up"


class Waiting:
    """Files that are looked at until nothing is left to wait for."""

    def __init__(self, wish: Wish, complaints: Complaints) -> None:
        self._wish = wish
        self._files: deque[Asked] = deque()
        self._complaints = complaints
        self.reached = 0
        """Files that are where they shall be."""

    def add(self, asked: Asked) -> None:
        """Wait for one more."""
        self._files.append(asked)

    @property
    def left(self) -> int:
        """Files that are still to be moved."""
        return len(self._files)

    def reasons(self) -> Counter[str]:
        """Why the next files wait, as many as are looked at in one, and how many for each."""
        found: Counter[str] = Counter()
        for asked in islice(self._files, LOOKS):
            with suppress(OSError):
                if reason := place_of(asked.path).waits:
                    found[reason] += 1
        return found

    def until(self, deadline: float, watch: Watch) -> bool:
        """Wait until ``deadline`` (time.monotonic) at most; tells whether all has ended.

        Raises:
            NotMounted: the mount's daemon is gone.
        """
        while self._files:
            if self.look(watch) < LOOKS and self._files:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        return True

    def look(self, watch: Watch) -> int:
        """Look at the next files, each once; returns how many have ended."""
        ended = 0
        for _ in range(min(LOOKS, len(self._files))):
            asked = self._files.popleft()
            if self._has_ended(asked.path):
                ended += 1
                watch(asked)
            else:
                self._files.append(asked)
        return ended

    def _has_ended(self, path: bytes) -> bool:
        try:
            place = place_of(path)
        except OSError as error:
            self._complaints.failed(path, error)
            return True
        state = state_of(self._wish, place)
        if state == "stuck":
            why = NO_ROOM.get(place.waits or "", f"it cannot be moved now ({place.waits})")
            stays = f"; {STAYS_PINNED}" if self._wish.asked(place) else ""
            self._complaints.stuck(path, f"it was not {self._wish.done}: {why}{stays}")
        if state == "given up":
            why = f"moving it failed ({place.waits}); see the log" if place.waits else WHY
            self._complaints.fail(path, f"it was not {self._wish.done}; {why}")
        self.reached += state == "reached"
        return state != "asked"
