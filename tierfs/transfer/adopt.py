"""Who walks a tree that is adopted, and hands its names to a volume, some hundred at a time.

The tree is walked in one order, by rising inode number, which is about the order on disk, so that a
run that was ended and begun again meets the names of a file in the same order. While the volume
works, threads look at the files that come next: of a tree that is not in memory, most of the time
goes by waiting for its inodes.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tierfs.common.errors import UsageError
from tierfs.common.ranges import NO_CLONE, clone_range
from tierfs.common.tree_report import Report, Step, Watch, unwatched

JOBS: Final = 8
TEXT_AT_ONCE: Final = 32_000
"""Bytes of JSON after which a request is sent; the control socket takes 64 KiB."""

TEXT_OF_A_STEP: Final = 16_000
"""A path on top of that has 4 KiB, or six times as many with escapes."""

WITHOUT_ESCAPES: Final = re.compile(rb"[ !#-\[\]-~]*").fullmatch
"""What JSON writes as it is."""

FROM_MEMORY: Final = 50e-6
"""Seconds that looking at a file takes at most, if it is in memory."""


class Port(Protocol):
    """The volume, mounted or not."""

    def adopt(self, steps: Sequence[Step]) -> Report:
        """Adopt names."""

    def settle(self) -> None:
        """Let all that was adopted survive a power cut."""


@dataclass(slots=True)
class Forecast:
    """What adopting a tree would do."""

    linked: int = 0
    linked_bytes: int = 0
    """That a later change of each of them would copy, without reflinks."""
    copied: int = 0
    copied_bytes: int = 0
    others: int = 0
    directories: int = 0
    excluded: int = 0
    largest: int = 0
    """Bytes of the largest file that would be linked."""
    reflinks: bool = False
    """Whether the filesystem of the disk tier lets files share blocks."""


class Walk:
    """Walks ``tree``; what matches a pattern of ``exclude`` is left out.

    A pattern with a slash is of a path from the tree on, any other of a name; both as in fnmatch.
    ``own`` are the volume's directories, by device and inode number, which are left out as well.
    """

    def __init__(
        self,
        tree: Path,
        *,
        exclude: Sequence[str] = (),
        own: Collection[tuple[int, int]] = (),
        jobs: int = JOBS,
    ) -> None:
        self.tree = Path(os.path.realpath(tree, strict=True))
        if not self.tree.is_dir():
            raise UsageError(f"{tree}: is not a directory")
        self._exclude = [os.fsencode(pattern.rstrip("/")) for pattern in exclude]
        self._own = frozenset(own)
        self._jobs = jobs
        self.report = Report()
        self._directories: list[bytes] = []

    def adopt(self, port: Port, *, take: bool = False, watch: Watch = unwatched) -> Report:
        """Hand everything to ``port``; to *take* it, remove the directories that are empty then.

        Raises:
            TierfsError: the volume cannot continue. What was adopted stays; begin again.
        """
        for steps in self._requests():
            self.report.add(port.adopt(steps))
            watch(self.report)
        port.settle()
        if take:
            self._remove_directories()
        return self.report

    def forecast(self, disk: Path) -> Forecast:
        """What ``adopt`` would do where ``disk`` is the disk tier's directory; changes nothing."""
        found = Forecast(reflinks=can_share_blocks(disk))
        device = disk.stat().st_dev
        seen: set[tuple[int, int]] = set()
        for path, files, others in self._steps():
            found.directories += 1
            for name in (*files, *others):
                status = os.lstat(self._place(path) + b"/" + name)
                key = status.st_dev, status.st_ino
                if not stat.S_ISREG(status.st_mode) or not status.st_size or key in seen:
                    found.others += 1
                    continue
                if status.st_nlink > 1:
                    seen.add(key)
                if status.st_dev == device:
                    found.linked += 1
                    found.linked_bytes += status.st_blocks * 512
                    found.largest = max(found.largest, status.st_size)
                else:
                    found.copied += 1
                    found.copied_bytes += status.st_blocks * 512
        found.excluded = self.report.excluded
        return found

    def _requests(self) -> Iterator[list[Step]]:
        """Steps in requests that are neither too long nor too many."""
        request: list[Step] = []
        text = 0
        with ThreadPoolExecutor(self._jobs, "adopt") as pool:
            for step in _looked_ahead(self._steps(), self._is_cold, self._look, pool, self._jobs):
                request.append(step)
                text += _text_of([step.path, *step.files, *step.others])
                if text >= TEXT_AT_ONCE:
                    yield request
                    request, text = [], 0
        if request:
            yield request

    def _is_cold(self, step: Step) -> bool:
        """Whether some of its files are not in memory; two are looked at, to tell by the time."""
        for name in (*step.files[:1], *step.files[-1:]):
            began = time.perf_counter()
            with suppress(OSError):
                os.lstat(self._place(step.path) + b"/" + name)
            if time.perf_counter() - began > FROM_MEMORY:
                return True
        return False

    def _look(self, step: Step) -> None:
        """Bring the inodes of its files into memory."""
        above = self._place(step.path)
        for name in step.files:
            with suppress(OSError):
                os.lstat(above + b"/" + name)

    def _steps(self) -> Iterator[Step]:
        """Every directory, before those in it, with what else is in it; large ones in parts."""
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            self._directories.append(path)
            files, others, below = self._listed(path)
            waiting += reversed(below)
            if not files and not others:
                yield Step(path, [], [])
            for part in _parts(files):
                yield Step(path, part, [])
            for part in _parts(others):
                yield Step(path, [], part)

    def _listed(self, path: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Files in a directory, what is neither that nor a directory, and directories.

        By rising inode number.
        """
        files: list[bytes] = []
        others: list[bytes] = []
        below: list[bytes] = []
        try:
            with os.scandir(self._place(path)) as entries:
                listed = sorted(entries, key=os.DirEntry.inode)
        except OSError as error:
            self.report.fail(path or b".", error.strerror or str(error))
            return files, others, below
        above = path + b"/" if path else b""
        for entry in listed:
            name = entry.name
            if self._exclude and self._is_excluded(above + name, name):
                self.report.excluded += 1
            elif entry.is_file(follow_symlinks=False):
                files.append(name)
            elif not entry.is_dir(follow_symlinks=False):
                others.append(name)
            elif self._is_own(entry):
                self.report.fail(above + name, "it is the volume itself, and left out")
            else:
                below.append(above + name)
        return files, others, below

    def _place(self, path: bytes) -> bytes:
        return os.fsencode(self.tree) + b"/" + path

    def _is_excluded(self, path: bytes, name: bytes) -> bool:
        return any(
            fnmatch.fnmatchcase(path if b"/" in pattern else name, pattern.lstrip(b"/"))
            for pattern in self._exclude
        )

    def _is_own(self, entry: os.DirEntry[bytes]) -> bool:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) in self._own

    def _remove_directories(self) -> None:
        for path in reversed(self._directories[1:]):
            with suppress(OSError):  # something was left out, or came meanwhile
                os.rmdir(self._place(path))  # noqa: PTH106 - of bytes


def _looked_ahead(
    steps: Iterator[Step],
    is_cold: Callable[[Step], bool],
    look: Callable[[Step], None],
    pool: ThreadPoolExecutor,
    ahead: int,
) -> Iterator[Step]:
    """The steps, each once somebody has looked at what is in it if it is cold, and at the next."""
    coming: deque[tuple[Step, Future[None] | None]] = deque()
    for step in steps:
        coming.append((step, pool.submit(look, step) if is_cold(step) else None))
        if len(coming) > ahead:
            yield _looked_at(*coming.popleft())
    for each in coming:
        yield _looked_at(*each)


def _looked_at(step: Step, looked: Future[None] | None) -> Step:
    if looked:
        looked.result()
    return step


def _parts(names: list[bytes]) -> Iterator[list[bytes]]:
    """The names in lists that are not too long."""
    if _text_of(names) <= TEXT_OF_A_STEP:
        if names:
            yield names
        return
    half = len(names) // 2
    yield from _parts(names[:half])
    yield from _parts(names[half:])


def _text_of(names: Sequence[bytes]) -> int:
    """Bytes that they take as JSON at most: six for each that is written as an escape."""
    text = b"".join(names)
    return len(text) * (1 if WITHOUT_ESCAPES(text) else 6) + 4 * len(names)


def can_share_blocks(directory: Path) -> bool:
    """Whether files of a directory's filesystem may share blocks (ioctl_ficlonerange(2))."""
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        one = os.open(directory, flags, 0o600)
    except OSError:
        return False
    try:
        other = os.open(directory, flags, 0o600)
        try:
            os.write(one, bytes(4096))
            clone_range(other, 0, 0, one, 0)
        except OSError as error:
            if error.errno not in NO_CLONE:
                raise
            return False
        finally:
            os.close(other)
    finally:
        os.close(one)
    return True
