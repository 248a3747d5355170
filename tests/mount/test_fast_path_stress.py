"""Many threads on one mount: what the fast path answers while others change it is right.

TIERFS_STRESS_SECONDS=600 lasts longer.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounting import Mount

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("TIERFS_STRESS_SECONDS", "3"))
THREADS = 4
NAMES = [b"%d" % number for number in range(6)]
SIZES = (0, 10, 4096, 70_000, 300_000)


class Worker(threading.Thread):
    """Works on files of its own in a directory that all share, and looks at those of the others.

    A file's bytes are its owner's letter, so a reader of any file knows what may be in it.
    """

    def __init__(self, root: bytes, number: int, end: float) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.letter = b"abcdefgh"[number : number + 1]
        self.source = random.Random(number)
        self.end = end
        self.sizes: dict[bytes, int] = {}
        self.error: BaseException | None = None
        self.steps = 0

    def path(self, name: bytes, letter: bytes | None = None) -> bytes:
        return os.path.join(self.root, (letter or self.letter) + name)

    def run(self) -> None:
        actions: list[Callable[[bytes], None]] = [
            self.write,
            self.cut,
            self.rename,
            self.unlink,
            self.tag,
            self.look,
            self.look,
            self.peek,
            self.peek,
        ]
        try:
            while time.monotonic() < self.end:
                self.source.choice(actions)(self.source.choice(NAMES))
                self.steps += 1
        except BaseException as exc:  # noqa: BLE001 - shown by the test
            self.error = exc

    def write(self, name: bytes) -> None:
        size = self.source.choice(SIZES)
        with open(self.path(name), "wb") as file:
            file.write(self.letter * size)
        self.sizes[name] = size

    def cut(self, name: bytes) -> None:
        if name in self.sizes:
            self.sizes[name] //= 2
            os.truncate(self.path(name), self.sizes[name])

    def rename(self, name: bytes) -> None:
        other = self.source.choice(NAMES)
        if name in self.sizes and name != other:
            os.rename(self.path(name), self.path(other))
            self.sizes[other] = self.sizes.pop(name)

    def unlink(self, name: bytes) -> None:
        if name in self.sizes:
            os.unlink(self.path(name))
            del self.sizes[name]

    def tag(self, name: bytes) -> None:
        if name in self.sizes:
            value = b"%d" % self.steps
            os.setxattr(self.path(name), "user.step", value)
            assert os.getxattr(self.path(name), "user.step") == value
            os.removexattr(self.path(name), "user.step")
            with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
                os.getxattr(self.path(name), "user.step")

    def look(self, name: bytes) -> None:
        """At one's own: exactly what was done last."""
        size = self.sizes.get(name)
        assert os.path.exists(self.path(name)) == (size is not None)
        if size is None:
            return
        assert os.stat(self.path(name)).st_size == size
        with open(self.path(name), "rb") as file:
            assert file.read() == self.letter * size
        mine = {entry for entry in os.listdir(self.root) if entry.startswith(self.letter)}
        assert mine == {self.letter + each for each in self.sizes}

    def peek(self, name: bytes) -> None:
        """At another's: gone, or with bytes that are its own."""
        letter = b"abcdefgh"[(number := self.source.randrange(THREADS)) : number + 1]
        try:
            with open(self.path(name, letter), "rb") as file:
                got = file.read()
        except FileNotFoundError:
            return
        # Between open and write, or cut and grown again, a hole may be seen, as anywhere.
        assert set(got) <= {letter[0], 0}


@pytest.mark.timeout(180 + 2 * SECONDS)
def test_threads_see_what_they_did_and_never_anothers_bytes(mounted: Mount) -> None:
    root = mounted.path / "shared"
    root.mkdir()
    end = time.monotonic() + SECONDS
    workers = [Worker(os.fsencode(root), number, end) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for worker in workers:
        if worker.error:
            raise worker.error
        assert worker.steps
    _read_all_cold(mounted, root, workers)


def _read_all_cold(mounted: Mount, root: Path, workers: list[Worker]) -> None:
    """Once more without anything cached."""
    mounted.remount()
    for worker in workers:
        for name, size in worker.sizes.items():
            assert (root / os.fsdecode(worker.letter + name)).read_bytes() == worker.letter * size
