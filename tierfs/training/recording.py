"""Measures how far into files this process reads first, and tells the daemon of their mount.

Python's ``open`` is replaced while this is on: a file that is opened for reading bytes is what it
was before, above a raw file that notes how far it is read. What is opened otherwise, as by a
library written in C, is not seen; `Recording.note` is for a loader that knows by itself.
"""

from __future__ import annotations

import atexit
import builtins
import io
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Self

from tierfs.training.connection import VERSION, root_of
from tierfs.training.order import SOCKETS

TOLD_EVERY_S: Final = 5.0
"""What was measured meanwhile is told together: as many files as fit in one message."""

LONGEST: Final = 4000
"""Bytes of a message; a daemon takes few more."""

LONGEST_EXTENSION: Final = 16
PATIENCE_S: Final = 0.5
LOOKED_EVERY_S: Final = 5.0
"""How often it is looked whether a filesystem has a daemon that listens."""

_OPEN: Final = builtins.open
_BYTES: Final = frozenset({"rb", "br"})


class Recording:
    """What `record_reads` began, until `stop`; also for a ``with`` statement. For any thread.

    Nothing here raises an error that ``open`` and reading would not raise.
    """

    def __init__(self, sockets: Path) -> None:
        self._sockets = sockets
        self._listens: dict[int, tuple[float, bool]] = {}
        self.renew()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Put ``open`` back, and tell what was not told yet. Stopping twice is fine."""
        global _recording  # noqa: PLW0603 - there is one `open`
        if _recording is self:
            _recording = None
            builtins.open = io.open = _OPEN
        self.flush()

    def note(self, path: str, reach: int) -> None:
        """A loader has read the first ``reach`` bytes of a file, and did not go on from there."""
        with suppress(OSError):
            found = Path(path).stat()
            if self.listens(found.st_dev):
                self.add(found.st_dev, path, found.st_size, reach)

    def add(self, device: int, path: str, size: int, reach: int) -> None:
        """As `note`, of a file whose device and size are known."""
        with self._lock:
            now = time.monotonic()
            if not self._rows:
                self._device, self._path = device, path
            if device == self._device and self._length < LONGEST:
                extension = Path(path).suffix[:LONGEST_EXTENSION]
                row = json.dumps([extension, size, reach], separators=(",", ":"))
                self._length += len(row) + 1
                if self._length < LONGEST:
                    self._rows.append(row)
            if now < self._tell_at:
                return
            rows, path = self._taken(now)
        self._tell(rows, path)

    def flush(self) -> None:
        """Tell what was noted."""
        with self._lock:
            rows, path = self._taken(time.monotonic())
        self._tell(rows, path)

    def renew(self) -> None:
        """Begin with nothing, as a process that was forked."""
        self._lock = threading.Lock()
        self._taken(time.monotonic(), begin=True)

    def listens(self, device: int) -> bool:
        """Whether a daemon listens for a filesystem."""
        looked_at, found = self._listens.get(device, (0.0, False))
        now = time.monotonic()
        if now - looked_at > LOOKED_EVERY_S or not looked_at:
            found = self._socket_of(device).exists()
            self._listens[device] = now, found
        return found

    def _taken(self, now: float, *, begin: bool = False) -> tuple[list[str], str]:
        """What is to be told, which is taken away."""
        taken = ([], "") if begin else (self._rows, self._path)
        self._rows: list[str] = []
        self._length = 0
        self._device = 0
        self._path = ""
        self._tell_at = now + TOLD_EVERY_S
        return taken

    def _tell(self, rows: list[str], path: str) -> None:
        if not rows:
            return
        message = f'{{"tierfs":{VERSION},"first_reads":[{",".join(rows)}]}}\n'
        with suppress(OSError):
            root, device = root_of(path)
            if self._sockets.lstat().st_uid not in {0, os.geteuid()}:
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(PATIENCE_S)
                connection.connect(os.fspath(self._socket_of(device)))
                directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    socket.send_fds(connection, [message.encode()], [directory])
                finally:
                    os.close(directory)

    def _socket_of(self, device: int) -> Path:
        return self._sockets / f"training-{os.major(device)}:{os.minor(device)}.sock"


class _Measured(io.FileIO):
    """A raw file that is read, and notes how far from its beginning on without a gap."""

    def __init__(self, recording: Recording, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - those of FileIO
        self._at = self._reach = 0
        self._recording: Recording | None = None
        super().__init__(*arguments, **more)
        found = os.fstat(self.fileno())
        if recording.listens(found.st_dev):
            self._recording = recording
            self._device, self._size = found.st_dev, found.st_size

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401 - as FileIO has it
        count = super().readinto(buffer)
        self._moved(count or 0)
        return count

    def readall(self) -> bytes:
        data = super().readall()
        self._moved(len(data or b""))
        return data

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data = super().read(size)
        self._moved(len(data or b""))
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = super().seek(offset, whence)
        return self._at

    def close(self) -> None:
        recording, self._recording = getattr(self, "_recording", None), None
        super().close()
        if (
            recording is not None
            and self._reach
            and isinstance(self.name, str | bytes | os.PathLike)
        ):
            recording.add(self._device, os.fsdecode(self.name), self._size, self._reach)

    def _moved(self, count: int) -> None:
        if self._at <= self._reach:
            self._reach = max(self._reach, self._at + count)
        self._at += count


_recording: Recording | None = None


def record_reads(sockets: Path = SOCKETS) -> Recording:
    """Measure from now on; of a recording that is on already the same one is returned.

    ``sockets``: where daemons listen.
    """
    global _recording  # noqa: PLW0603 - there is one `open`
    if _recording is None:
        _recording = Recording(sockets)
        builtins.open = io.open = _open  # type: ignore[assignment]
        atexit.register(_recording.stop)
    return _recording


def _open(
    file: Any,  # noqa: ANN401 - as Python's own
    mode: str = "r",
    buffering: int = -1,
    *arguments: Any,  # noqa: ANN401
    **more: Any,  # noqa: ANN401
) -> IO[Any]:
    """As ``open`` of Python; bytes of named files are read through `_Measured`."""
    recording = _recording
    plain = buffering != 1 and all(one is None for one in (*arguments, *more.values()))
    if recording is None or mode not in _BYTES or isinstance(file, int) or not plain:
        return _OPEN(file, mode, buffering, *arguments, **more)
    raw = _Measured(recording, file, "r")
    if not buffering:
        return raw
    size = buffering if buffering > 1 else getattr(raw, "_blksize", io.DEFAULT_BUFFER_SIZE)
    return io.BufferedReader(raw, max(size, 1))


def _begin_anew() -> None:
    """In a forked child, as a data loader's worker: what its parent noted is its parent's."""
    if _recording is not None:
        _recording.renew()


os.register_at_fork(after_in_child=_begin_anew)
