"""The socket that training jobs announce to, and the threads that read ahead for them.

One thread accepts connections and takes in what jobs say; it waits for none of them. A greeting,
with the descriptor that comes with it, is looked at in a thread of its own: what lies behind a
descriptor of somebody else may hang. `DEPTH` threads, which are there while there is an
announcement, have files looked up and read as the plan says. Whatever may wait for our own mount is
called in threads without the daemon's descriptors (`tierfs.common.own_mount`).

Every user who can reach the mount may announce. A job that has opened its connection and ends,
however it dies, ends its announcement: the connection is closed with it, and where a child of it
keeps a copy, its process is watched as well.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from tierfs.announcements.machine import memory_for_windows
from tierfs.announcements.peer import Peer, peer_of
from tierfs.announcements.plan import Check, LookUp, Plan, Rank, Read, Work, record_of
from tierfs.announcements.protocol import (
    AHEAD,
    CHARACTERS,
    LONGEST_LINE,
    Measured,
    ProtocolError,
    parse,
    parse_greeting,
    require_short,
)
from tierfs.announcements.reading import Reader
from tierfs.common.metrics import Metrics
from tierfs.common.own_mount import OwnMountThread, call_own_mount, known_of
from tierfs.common.priority import scheduled

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

DEPTH: Final = 8
"""Files that are read at a time: enough for a disk to choose the nearest."""

MOST: Final = 128
"""Connections; of one user a quarter of them."""

MOST_OF_USER: Final = MOST // 4
MOST_GREETING: Final = 16
"""Connections that have not said who they are."""

GREETING_S: Final = 5.0
TICK_S: Final = 0.5
"""How often a job that waits is told that it goes on."""

TOLD_EVERY: Final = 64
"""Files after which a job that does not wait is told how far it may go."""

REPLY: Final = 4096

STOP_S: Final = 2.0


class FirstReads(Protocol):
    """Who counts how far into files is read first."""

    def told(self, reads: Iterable[tuple[str, int, int]], /) -> None:
        """`Measured.first_reads`, of a job."""

    def read_ahead(self, ino: int, /) -> None:
        """A file is read ahead: its requests are not those of a program."""


@dataclass(slots=True, eq=False)
class _Client:
    """A job's connection after its greeting."""

    connection: socket.socket
    peer: Peer
    directory: int
    """The inode number of what its paths are below."""
    rank: Rank
    process: int
    """A descriptor of the process (pidfd_open(2)); -1: it cannot be watched."""
    data: bytes = b""
    told: int = 0
    """What it was told of `Rank.ready`."""
    sending: threading.Lock = field(default_factory=threading.Lock)


class Announcements:
    """Announcements for the mount at ``mountpoint``: `run` serves them until `close`.

    `show` and `upcoming` are for any thread.
    """

    def __init__(
        self,
        mountpoint: Path,
        sockets: Path,
        memory: int | None,
        head: int,
        metrics: Metrics,
        first_reads: FirstReads,
    ) -> None:
        """``sockets``: the directory of the socket. ``memory``: bytes, None: a part of what is.

        ``head``: the length of heads, in bytes.
        """
        self._head = head
        self._mountpoint = mountpoint
        self._sockets = sockets
        self._memory = memory
        self._metrics = metrics
        self._first_reads = first_reads
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        """Held for all that uses ``_plan`` or ``_clients``."""
        self._plan = Plan(0)
        self._clients: dict[Rank, _Client] = {}
        self._greeting: dict[int, int] = {}
        """Connections that have not said who they are, by user."""
        self._new: list[_Client] = []
        self._readers: list[threading.Thread] = []
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def show(self) -> dict[str, Any]:
        """All announcements, for JSON."""
        with self._changed:
            ranks = [record_of(rank) for rank in self._plan.ranks]
            return {"memory": self._plan.memory, "dropped": self._plan.dropped, "ranks": ranks}

    def upcoming(self, most: int) -> dict[int, int]:
        """`Plan.upcoming`; for any thread."""
        with self._changed:
            return self._plan.upcoming(most) if self._clients else {}

    def run(self) -> None:
        """Serve announcements until `close`, if this user may copy the mount (root); in a thread.

        Raises:
            OSError: the socket cannot be made.
        """
        if self._memory == 0:
            return
        device = known_of(self._mountpoint).device
        try:
            call_own_mount(Reader(self._mountpoint, device).check)
        except OSError as error:
            log.info("announcements of training jobs are not taken: %s", error.strerror)
            return
        with self._changed:
            memory = memory_for_windows() if self._memory is None else self._memory
            self._plan = Plan(memory, self._head)
        path = self._sockets / f"training-{os.major(device)}:{os.minor(device)}.sock"
        with _listening(path) as listening:
            self._serve(listening, device)

    def close(self) -> None:
        """Let `run` and the readers end; the mount must be gone, or answer."""
        self._stopping.set()
        with suppress(OSError):
            os.eventfd_write(self._wake, 1)
        with self._changed:
            self._changed.notify_all()
            readers = list(self._readers)
        for reader in readers:
            reader.join(STOP_S)

    # -------------------------------------------------------------- connections

    def _serve(self, listening: socket.socket, device: int) -> None:
        tick = time.monotonic() + TICK_S
        with selectors.DefaultSelector() as selector, ExitStack() as resources:
            resources.callback(self._drop_all)
            selector.register(listening, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping.is_set():
                patience = max(0.0, tick - time.monotonic()) if self._clients else None
                for key, _ in selector.select(patience):
                    if key.fileobj is listening:
                        self._accept(listening, device)
                    elif isinstance(key.data, _Client):
                        self._hear(key.data, selector, has_ended=key.fd == key.data.process)
                self._admit(selector, device)
                if time.monotonic() >= tick:
                    tick = time.monotonic() + TICK_S
                    self._tell_all()

    def _accept(self, listening: socket.socket, device: int) -> None:
        try:
            connection, _ = listening.accept()
        except OSError:  # it is gone, or no descriptor is left: the filesystem needs them
            self._stopping.wait(0.1)
            return
        connection.settimeout(GREETING_S)
        try:
            peer = peer_of(connection)
        except OSError:
            connection.close()
            return
        with self._changed:
            of_user = sum(one.peer.uid == peer.uid for one in self._clients.values())
            of_user += self._greeting.get(peer.uid, 0)
            greeting = sum(self._greeting.values())
            refused = (
                of_user >= MOST_OF_USER
                or greeting >= MOST_GREETING
                or len(self._clients) + greeting >= MOST
            )
            if not refused:
                self._greeting[peer.uid] = self._greeting.get(peer.uid, 0) + 1
        if refused:
            self._metrics.connections_refused.labels("training").inc()
            connection.close()
            return
        threading.Thread(
            target=self._greet, args=(connection, peer, device), name="tierfs-greet", daemon=True
        ).start()

    def _greet(self, connection: socket.socket, peer: Peer, device: int) -> None:
        """Take a greeting, in a thread."""
        client = None
        try:
            client = self._greeted(connection, peer, device)
        except ProtocolError as error:
            _send(connection, {"error": str(error)})
        except (OSError, ValueError):
            pass
        finally:
            with self._changed:
                self._greeting[peer.uid] -= 1
                if not self._greeting[peer.uid]:
                    del self._greeting[peer.uid]
                if client is not None:
                    self._new.append(client)
            if client is None:
                connection.close()
            with suppress(OSError):
                os.eventfd_write(self._wake, 1)

    def _greeted(self, connection: socket.socket, peer: Peer, device: int) -> _Client | None:
        """None: it has said all that it wanted to say.

        Raises ProtocolError, OSError or ValueError.
        """
        with OwnMountThread("tierfs-greeted", keep=[connection.fileno()]) as thread:
            directory, data = thread.call(_receive_greeting, connection, device)
        line, _, rest = data.partition(b"\n")
        greeting = parse_greeting(line)
        if isinstance(greeting, Measured):
            self._first_reads.told(greeting.first_reads)
            return None
        process = -1
        if peer.pid:
            process = os.pidfd_open(peer.pid)  # ProcessLookupError: it has ended
        connection.setblocking(False)  # noqa: FBT003 - the only argument there is
        with self._changed:
            rank = self._plan.join(peer.uid, greeting.job, greeting.rank)
        return _Client(connection, peer, directory, rank, process, rest)

    def _admit(self, selector: selectors.BaseSelector, device: int) -> None:
        """Serve those that have said who they are."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        with self._changed:
            new, self._new = self._new, []
            for client in new:
                self._clients[client.rank] = client
            self._metrics.announcements.set(len(self._clients))
        for client in new:
            selector.register(client.connection, selectors.EVENT_READ, client)
            if client.process >= 0:
                selector.register(client.process, selectors.EVENT_READ, client)
            _send(client.connection, {"ahead": AHEAD, "characters": CHARACTERS})
            self._take(client, selector)
        with self._changed:
            for _ in range(len(self._readers), DEPTH if self._clients else 0):
                thread = threading.Thread(
                    target=self._read_on, args=(device,), name="tierfs-ahead", daemon=True
                )
                self._readers.append(thread)
                thread.start()

    def _hear(self, client: _Client, selector: selectors.BaseSelector, *, has_ended: bool) -> None:
        if client.rank not in self._clients:  # dropped since the selector saw it
            return
        try:
            more = b"" if has_ended else client.connection.recv(LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self._drop(client, selector)
            return
        client.data += more
        self._take(client, selector)

    def _take(self, client: _Client, selector: selectors.BaseSelector) -> None:
        """Take in the lines that have come."""
        *lines, client.data = client.data.split(b"\n")
        try:
            for line in lines:
                self._heard(client, line)
            require_short(client.data)
        except ProtocolError as error:
            _send(client.connection, {"error": str(error)})
            self._drop(client, selector)

    def _heard(self, client: _Client, line: bytes) -> None:
        """Raises ProtocolError."""
        said, rank = parse(line), client.rank
        with self._changed:
            before = rank.hits, rank.late, rank.left, rank.failed, rank.waited_s
            if said.position is not None:  # first, as what was reached makes room for paths
                self._plan.reach(rank, min(said.position, rank.told))
            if said.paths or said.last:
                self._plan.tell(rank, said.paths, last=said.last)
            if said.position is not None:
                self._plan.reach(rank, said.position)
            if said.waited_s is not None:
                rank.waited_s = max(rank.waited_s, said.waited_s)
            if self._plan.has_work:
                self._changed.notify()
            after = rank.hits, rank.late, rank.left, rank.failed, rank.waited_s
        *counts, waited = (b - a for a, b in zip(before, after, strict=True))
        for result, count in zip(("ready", "late", "left", "failed"), counts, strict=True):
            if count:
                self._metrics.announced_files.labels(result).inc(count)
        if waited:
            self._metrics.announced_wait_seconds.inc(waited)
        self._tell(client)

    def _drop(self, client: _Client, selector: selectors.BaseSelector) -> None:
        with self._changed:
            self._clients.pop(client.rank, None)
            self._plan.leave(client.rank)
            self._metrics.announcements.set(len(self._clients))
            self._changed.notify_all()
        selector.unregister(client.connection)
        client.connection.close()
        if client.process >= 0:
            selector.unregister(client.process)
            os.close(client.process)

    def _drop_all(self) -> None:
        with self._changed:
            clients = [*self._clients.values(), *self._new]
            self._clients, self._new = {}, []
            for client in clients:
                self._plan.leave(client.rank)
            self._metrics.announcements.set(0)
            self._changed.notify_all()
        for client in clients:
            client.connection.close()
            if client.process >= 0:
                os.close(client.process)

    # -------------------------------------------------------------- what jobs are told

    def _tell(self, client: _Client) -> None:
        """Say how far the job may go, if it waits for that, or it is much."""
        rank, ready = client.rank, client.rank.ready
        if client.told <= rank.position < ready or ready - client.told >= TOLD_EVERY:
            self._say(client, ready)

    def _tell_all(self) -> None:
        """Those that wait learn that something goes on for them."""
        with self._changed:
            reads = any(rank.reading or rank.looking for rank in self._plan.ranks)
            waiting = [
                one
                for one in self._clients.values()
                if one.rank.ready > one.told
                or (reads and one.rank.ready <= one.rank.position < one.rank.told)
            ]
        for client in waiting:
            self._say(client, client.rank.ready)

    def _say(self, client: _Client, ready: int) -> None:
        with client.sending:
            if _send(client.connection, {"ready": ready}):
                client.told = max(client.told, ready)

    # -------------------------------------------------------------- reading

    def _read_on(self, device: int) -> None:
        """A reader's thread: it ends with the last announcement."""
        reader = Reader(self._mountpoint, device)
        with OwnMountThread("tierfs-read") as thread:
            while True:
                with self._changed:
                    while (work := self._plan.next()) is None:
                        thread.call(reader.let_go)
                        if self._stopping.is_set() or not self._clients:
                            me = threading.current_thread()
                            self._readers = [one for one in self._readers if one is not me]
                            return
                        self._changed.wait()
                    if self._plan.has_work:  # for another thread: one alone was woken
                        self._changed.notify()
                self._do(work, reader, thread)

    def _do(self, work: Work, reader: Reader, thread: OwnMountThread) -> None:
        if isinstance(work, LookUp):
            self._look_up(work, reader, thread)
        elif isinstance(work, Read):
            self._read(work, reader, thread)
        else:
            self._check(work, reader, thread)
        with self._changed:
            clients = list(self._clients.values())
        for client in clients:
            self._tell(client)

    def _look_up(self, work: LookUp, reader: Reader, thread: OwnMountThread) -> None:
        rank = work.files[0].rank
        with self._changed:
            client = self._clients.get(rank)
            paths = [file.path for file in work.files]
        found: list[tuple[int, int] | None] = [None] * len(paths)
        ran = waited = 0.0
        if client is not None:
            try:
                found, ran, waited = thread.call(
                    _timed, reader.look_up, client.peer, client.directory, paths
                )
            except Exception as error:  # noqa: BLE001 - the job reads them by itself
                _report("looked up", error)
        with self._changed:
            self._plan.ran(ran, waited)
            self._plan.looked_up(work, found)
            self._changed.notify()

    def _read(self, work: Read, reader: Reader, thread: OwnMountThread) -> None:
        with self._changed:
            clients = [self._clients.get(file.rank) for file in work.files]
        for file in work.files:
            self._first_reads.read_ahead(file.ino)
        wanted = [
            None if client is None else (client.directory, file.path, file.ino, file.size)
            for file, client in zip(work.files, clients, strict=True)
        ]
        done, ran, waited = thread.call(_timed, _read_each, reader, wanted)
        read = [None if isinstance(one, Exception) else one for one in done]
        with self._changed:
            self._plan.ran(ran, waited)
            for file, count in zip(work.files, read, strict=True):
                self._plan.done(file, count)
            self._changed.notify()
        self._metrics.announced_bytes.inc(sum(count or 0 for count in read))
        for one in done:
            if isinstance(one, Exception):  # the job reads it by itself
                _report("read", one)

    def _check(self, work: Check, reader: Reader, thread: OwnMountThread) -> None:
        file, is_there = work.file, None
        with self._changed:
            client = self._clients.get(file.rank)
        try:
            if client is not None:
                is_there = thread.call(
                    reader.is_there, client.directory, file.path, file.ino, file.size
                )
        except Exception as error:  # noqa: BLE001 - it is not known then
            _report("looked at", error)
        if is_there is not None:
            with self._changed:
                self._plan.checked(is_there=is_there)


def _timed(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float, float]:
    """What ``function`` returns, and for how long this thread ran and waited for a core."""
    ran, waited = scheduled()
    result = function(*args, **kwargs)
    now_ran, now_waited = scheduled()
    return result, now_ran - ran, now_waited - waited


def _read_each(
    reader: Reader, wanted: Sequence[tuple[int, str, int, int] | None]
) -> list[int | Exception | None]:
    done: list[int | Exception | None] = []
    for one in wanted:
        try:
            done.append(None if one is None else reader.read(*one))
        except Exception as error:  # noqa: BLE001 - it is reported where there is a log
            done.append(error)
    return done


def _receive_greeting(connection: socket.socket, device: int) -> tuple[int, bytes]:
    """The number of the directory that comes with a greeting, and what comes, a line at least.

    Raises:
        ProtocolError: it is no greeting.
    """
    data, descriptors, _, _ = socket.recv_fds(connection, REPLY, 1)
    directory = 0
    for descriptor in descriptors:
        try:
            found = known_of(descriptor)
        finally:
            os.close(descriptor)
        if found.device == device and stat.S_ISDIR(found.mode):
            directory = found.ino
    if not directory:
        raise ProtocolError("a greeting comes with a directory of the mount")
    while b"\n" not in data:
        more = connection.recv(REPLY)
        if not more or len(data) > REPLY:
            raise ProtocolError("a greeting is one line")
        data += more
    return directory, data


def _report(what: str, error: Exception) -> None:
    unexpected = None if isinstance(error, OSError) else error
    level = logging.DEBUG if unexpected is None else logging.ERROR
    log.log(level, "announced files cannot be %s: %s", what, error, exc_info=unexpected)


def _send(connection: socket.socket, message: object) -> bool:
    """Send a line if the other end has room for it; False: it has none."""
    try:
        connection.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A socket at ``path`` to which every user may connect, in place of what was there.

    Raises:
        OSError: it cannot be made.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(os.fspath(path))
        try:
            path.chmod(0o666)
            listening.listen(MOST)
            listening.setblocking(False)  # noqa: FBT003 - the only argument there is
            yield listening
        finally:
            with suppress(OSError):
                path.unlink()
