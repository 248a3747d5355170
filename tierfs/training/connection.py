"""The connection of one rank to the daemon of the mount with its files."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

VERSION: Final = 1
LONGEST_REPLY: Final = 4096
GREETING_S: Final = 5.0
"""For the daemon to take the connection."""

PATIENCE_S: Final = 5.0
"""Without a word of the daemon the job goes on by itself."""

AGAIN_S: Final = 5.0
"""After a connection that was lost or refused: another daemon may have taken over."""

MESSAGE: Final = 4096
"""Characters of paths in a message, and one path more."""

REPORTED: Final = 32
"""The position is told at least so often, in files."""


class Connection:
    """Tells the daemon paths and the position. Nothing here raises an error of the connection.

    Files are numbered by ``tell`` and counted by ``reached``, from 0 with each new connection.
    For one thread at a time. A process that is forked from this one has no part in it.
    """

    def __init__(self, path: str, job: str, rank: int, sockets: Path) -> None:
        """``path``: any file that will be told; its mount is asked. ``sockets``: a directory."""
        self._path = path
        self._greeting = {"tierfs": VERSION, "job": job, "rank": rank}
        self._sockets = sockets
        self._socket: socket.socket | None = None
        self._root = ""
        self._retry_at = 0.0
        self._pid = os.getpid()
        _LIVE.add(self)
        self.connect()

    @property
    def ahead(self) -> int:
        """How many files may be told before they are reached; 0: nobody listens."""
        return self._ahead if self._socket is not None else 0

    @property
    def room(self) -> int:
        """How many files more may be told now."""
        return self.ahead - len(self._lengths) if self._characters < self._most else 0

    def connect(self) -> bool:
        """Connect, at most every few seconds; True: there is a new connection."""
        now = time.monotonic()
        if self._socket is not None or now < self._retry_at or self._pid != os.getpid():
            return False
        self._retry_at = now + AGAIN_S
        self._ahead = self._most = self._characters = 0
        self._lengths: deque[int] = deque()
        self._position = self._reported = self._ready = 0
        self._waited = 0.0
        self._replies = b""
        self._goes_on = False
        try:
            root, found = root_of(self._path)
            path = self._sockets / f"training-{os.major(found)}:{os.minor(found)}.sock"
            self._greet(root, path)
        except (OSError, ValueError, LookupError, TypeError):
            self.close()
        return self._socket is not None

    def tell(self, paths: Sequence[str], *, last: bool = False) -> None:
        """These files are read next; ``last``: and no others."""
        piece: list[str | None] = []
        length = 0
        for path in paths if self._socket is not None else ():
            relative = self._relative(path)
            self._lengths.append(len(relative or ""))
            self._characters += self._lengths[-1]
            length += self._lengths[-1]
            piece.append(relative)
            if length >= MESSAGE:
                self._say(paths=piece)
                piece, length = [], 0
        if piece or last:
            self._say(paths=piece, **({"last": True} if last else {}))

    def reached(self) -> None:
        """Go on to the next file."""
        self._position += 1
        if self._lengths:
            self._characters -= self._lengths.popleft()
        if self._position - self._reported >= REPORTED:
            self._say()

    def wait(self) -> None:
        """Return when the next file is there, or the daemon is of no help."""
        if self._ready > self._position or self._socket is None:
            return
        self._listen(0.0)
        if self._ready > self._position or self._goes_on or not self._lengths:
            return
        began = time.monotonic()
        self._say()
        while self.ahead and self._ready <= self._position:
            if not self._listen(PATIENCE_S):
                self._goes_on = True  # until it speaks again
                break
        self._waited += time.monotonic() - began

    def end(self) -> None:
        """End the announcement; the daemon learns how far it came."""
        if self._position != self._reported:
            self._say()
        self.close()

    def close(self) -> None:
        """End the announcement at once."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
            self._socket = None

    def _greet(self, root: str, path: Path) -> None:
        """Raises OSError, ValueError, LookupError or TypeError."""
        if path.parent.lstat().st_uid not in {0, os.geteuid()}:
            raise PermissionError(f"{path.parent} belongs to another user")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(GREETING_S)
        self._socket.connect(os.fspath(path))
        self._root = root.rstrip("/") + "/"
        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            socket.send_fds(self._socket, [_line(self._greeting)], [directory])
        finally:
            os.close(directory)
        answer = self._next_reply()
        self._ahead, self._most = int(answer["ahead"]), int(answer["characters"])

    def _relative(self, path: str) -> str | None:
        """The path below the mount's root; None: it leads elsewhere."""
        whole = path
        if not path.startswith("/") or "/." in path or "//" in path:
            whole = os.path.abspath(path)  # noqa: PTH100 - links are the daemon's to follow
        return whole[len(self._root) :] if whole.startswith(self._root) else None

    def _say(self, **more: object) -> None:
        message = {"position": self._position, "waited": round(self._waited, 3), **more}
        self._reported = self._position
        try:
            if self._socket is not None:
                self._socket.sendall(_line(message))
        except OSError:
            self.close()

    def _listen(self, seconds: float) -> bool:
        """Take in what the daemon says within ``seconds``; False: nothing came."""
        try:
            connection = self._socket
            if connection is None or not select.select([connection], [], [], seconds)[0]:
                return False
            while (said := self._next_reply()) is not None:
                self._ready, self._goes_on = int(said["ready"]), False
                if b"\n" not in self._replies and not select.select([connection], [], [], 0)[0]:
                    break
        except (OSError, ValueError, LookupError, TypeError):
            self.close()
        return True

    def _next_reply(self) -> dict[str, Any]:
        """The next line. Raises OSError at the end, ValueError where it is no JSON."""
        while b"\n" not in self._replies:
            connection = self._socket
            more = connection.recv(LONGEST_REPLY) if connection is not None else b""
            if not more or len(self._replies) > LONGEST_REPLY:
                raise ConnectionError("the daemon has closed the connection")
            self._replies += more
        line, _, self._replies = self._replies.partition(b"\n")
        said = json.loads(line)
        return said if isinstance(said, dict) else {}


def _line(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def root_of(path: str) -> tuple[str, int]:
    """The topmost directory above a path on the same filesystem, and its device.

    Raises:
        OSError: there is no such path.
    """
    root = Path(path).resolve()
    found = root.stat()
    if not stat.S_ISDIR(found.st_mode):
        root = root.parent
    while root.parent != root and root.parent.stat().st_dev == found.st_dev:
        root = root.parent
    return os.fspath(root), found.st_dev


_LIVE: Final[weakref.WeakSet[Connection]] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """A forked child, as a data loader's worker: its copies would keep connections open."""
    for connection in list(_LIVE):
        connection.close()


os.register_at_fork(after_in_child=_leave_to_parent)
