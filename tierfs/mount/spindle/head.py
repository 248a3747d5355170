"""Let accesses wait as long as a drive's head takes for them."""

from __future__ import annotations

import time

import trio

from tierfs.bench.spindle_layout import Layout
from tierfs.bench.spindle_model import Spindle
from tierfs.bench.spindle_queue import Request
from tierfs.mount.spindle.timer import Timer


class Head:
    """The one head of a drive: a task that serves the queue, and sleeps as long as it says."""

    def __init__(self, spindle: Spindle, layout: Layout) -> None:
        self._spindle = spindle
        self._layout = layout
        self._waiting: dict[Request, trio.Event] = {}
        self._work = trio.Event()

    async def read(self, ino: int, offset: int, length: int) -> None:
        """Return when the head has read these bytes of a file."""
        for run in self._layout.runs(ino, offset, length):
            await self._done(self._spindle.read(time.monotonic(), run.address, run.length))

    async def write(self, ino: int, offset: int, length: int) -> None:
        """Return when the drive has taken these bytes of a file in."""
        self._layout.wrote(ino, offset, length)
        await self._done(self._spindle.write(time.monotonic(), length))

    async def _done(self, request: Request) -> None:
        self._waiting[request] = done = trio.Event()
        self._work.set()
        await done.wait()

    async def serve(self) -> None:
        """Serve whoever waits, one after the other, until cancelled."""
        timer = Timer()
        try:
            while True:
                await self._work.wait()
                await self._empty(timer)
                self._work = trio.Event()
        finally:
            timer.close()

    async def _empty(self, timer: Timer) -> None:
        while turn := self._spindle.next(time.monotonic(), self._layout.end):
            if turn.done_at > time.monotonic():
                await timer.until(turn.done_at)
            self._waiting.pop(turn.request).set()
