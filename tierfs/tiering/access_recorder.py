"""The access log of a mount: what is read and written, with the facts that policies ask about.

Recording never blocks a request: `AccessRecorder.feed` and `AccessRecorder.changed` put a batch
into a bounded queue, and a thread looks the files up and writes. What does not fit is left out and
counted. An error of the filesystem, a full disk above all, ends the recording with one line in the
daemon's log. The format is that of `tierfs.tiering.access_log`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

from tierfs.common.beneath import make_private, open_file
from tierfs.common.errors import FsError
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.units import SECOND
from tierfs.metadata.reader import IndexReader
from tierfs.tiering.access_log import (
    FileFacts,
    Use,
    beginning_line,
    file_line,
    gone_line,
    older,
    use_line,
)
from tierfs.tiering.heat import Row
from tierfs.tiering.model import on_flash

log = logging.getLogger(__name__)

T = TypeVar("T")

WAITING: Final = 262_144
"""Files of batches that wait to be written, at most: some 50 MB."""

KNOWN: Final = 131_072
"""Files whose facts are known to be in the present part, at most."""

LOOKUPS: Final = 2000
"""Files looked up for one batch at most, so that a scan does not occupy the index; others follow
with the next batches.
"""

REFRESH: Final = 3600 * SECOND
"""Facts are written again after so long: owners and names may have changed."""

CHUNK: Final = 256
"""Files whose lines are written at a time."""

CLOSING_S: Final = 5.0
"""How long `AccessRecorder.close` waits for what is not written yet."""

MOST_XATTRS: Final = 16
LONGEST_VALUE: Final = 256
"""Bytes; rules compare words, and longer values do not belong into a log."""

_TOLD: Final = b"user."

MODE: Final = 0o600
"""Only the owner may read the log: it has names of files."""

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND

LookUp: TypeAlias = Callable[[Sequence[int]], Mapping[int, FileFacts]]
"""The facts of those of some inodes that are files and not deleted. Raises FsError."""


class _Batch(NamedTuple):
    now: int
    rows: Sequence[Row]
    changed: Collection[int]

    @property
    def files(self) -> int:
        return len(self.rows) + len(self.changed)


class AccessRecorder:
    """Records to ``path``, at most ``size`` bytes; ``head`` and ``flash`` are those of the volume.

    Raises:
        OSError: the file cannot be made or continued.
    """

    def __init__(
        self, path: Path, size: int, look_up: LookUp, *, head: int, flash: int, os_: Os = SYSTEM
    ) -> None:
        self.lost = 0
        """Files of batches that were left out, since the queue was full."""
        self._path = path
        self._log = RotatingLog(path, size, beginning_line(head, flash), os_)
        self._look_up = look_up
        self._known: OrderedDict[int, int] = OrderedDict()
        self._wanted: OrderedDict[int, bool] = OrderedDict()
        self._queue: deque[_Batch] = deque()
        self._waiting = 0
        self._ending = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    @property
    def recording(self) -> bool:
        """Whether it records; not after an error."""
        return self._thread.is_alive()

    def observe(self, rows: Iterable[Row], changed: Collection[int], now: int) -> None:
        """Both at once, as the mount tells its listeners each second."""
        self.changed(changed, now)
        self.feed(rows, now)

    def feed(self, rows: Iterable[Row], now: int) -> None:
        """Files were read: (inode, reads, bytes) of each, until ``now`` (ns since the epoch)."""
        read = [row for row in rows if row[0] > 0 and row[1] > 0 and row[2] > 0]
        self._put(_Batch(now, read, ()))

    def changed(self, inos: Collection[int], now: int) -> None:
        """The bytes or sizes of files were changed, or they were made or deleted."""
        self._put(_Batch(now, (), tuple(inos)))

    def close(self) -> None:
        """Write what waits, for some seconds at most, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(CLOSING_S)

    def _put(self, batch: _Batch) -> None:
        with self._changed:
            if not batch.files or self._ending:
                return
            if self._waiting + batch.files > WAITING:
                if not self.lost:
                    log.warning("%s: writing does not keep up; accesses are left out", self._path)
                self.lost += batch.files
                return
            self._queue.append(batch)
            self._waiting += batch.files
            self._changed.notify()

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._write(batch)
        except OSError as error:
            log.warning("%s: %s; accesses are no longer recorded", self._path, error.strerror)
        except Exception:
            log.exception("%s: accesses are no longer recorded", self._path)
        finally:
            with self._changed:
                self._ending = True
                self._queue.clear()
            self._log.close()

    def _next(self) -> _Batch | None:
        with self._changed:
            while not self._queue:
                if self._ending:
                    return None
                self._changed.wait()
            batch = self._queue.popleft()
            self._waiting -= batch.files
            return batch

    def _write(self, batch: _Batch) -> None:
        """Facts come first, before the accesses to their files where that is possible."""
        for ino in batch.changed:
            self._want(ino, written=True)
        for ino, _, _ in batch.rows:
            if batch.now - self._known.get(ino, -REFRESH) >= REFRESH:
                self._want(ino, written=False)
        wanted = [self._wanted.popitem(last=False) for _ in range(min(LOOKUPS, len(self._wanted)))]
        for some in _chunks(wanted):
            self._add(self._facts(some, batch.now))
        for rows in _chunks(batch.rows):
            self._add([use_line(Use(batch.now, ino, size, reads)) for ino, reads, size in rows])

    def _want(self, ino: int, *, written: bool) -> None:
        if ino in self._wanted or len(self._wanted) < KNOWN:
            self._wanted[ino] = written or self._wanted.get(ino, False)
        else:
            self.lost += 1

    def _add(self, lines: list[bytes]) -> None:
        """Write some lines; in a new part every file's facts are written again."""
        text = b"".join(lines)
        if not self._log.fits(text):
            self._log.turn()
            self._known.clear()
        self._log.add(text)

    def _facts(self, wanted: Sequence[tuple[int, bool]], now: int) -> list[bytes]:
        """The lines of files, each with whether it was written."""
        try:
            found = self._look_up([ino for ino, _ in wanted])
        except FsError as error:
            log.debug("%s: looking files up: %s", self._path, error)
            return []
        lines = []
        for ino, written in wanted:
            if (facts := found.get(ino)) is not None:
                self._known[ino] = now
                self._known.move_to_end(ino)
                if len(self._known) > KNOWN:
                    self._known.popitem(last=False)
                lines.append(file_line(facts))
                if written and facts.size:
                    lines.append(use_line(Use(now, ino, facts.size, write=True)))
            elif written:
                lines.append(gone_line(ino))
        return lines


def facts_of(reader: IndexReader, inos: Sequence[int]) -> Mapping[int, FileFacts]:
    """The facts of those of the inodes that are regular files and have a name.

    Raises:
        IndexFailed: the index cannot be read.
    """
    rows = reader.some(inos)
    paths, xattrs = reader.paths(rows), reader.xattrs(inos, LONGEST_VALUE)
    return {
        row.ino: FileFacts(
            row.ino,
            row.size,
            row.mtime,
            row.uid,
            row.gid,
            on_flash(row),
            tuple(paths.get(row.ino, ())),
            tuple(pair for pair in xattrs.get(row.ino, ()) if pair[0].startswith(_TOLD))[
                :MOST_XATTRS
            ],
        )
        for row in rows
    }


class RotatingLog:
    """``size`` bytes of lines at ``path``, which is made with its directories, or continued.

    Lines are added to ``NAME``; when half of the size is reached, it becomes ``NAME.1``, in the
    place of the one before. So between a half and all of the size is kept.

    Every part begins with the line ``beginning``. The directory is held open, so that mounting
    over it changes nothing. Not thread-safe.

    Raises:
        OSError: from every method, when the filesystem says so.
    """

    def __init__(self, path: Path, size: int, beginning: bytes, os_: Os = SYSTEM) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._name, self._older = path.name, older(path).name
        self._most = size // 2
        self._beginning = beginning
        self._os = os_
        self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._file = -1
        try:
            self._remove_too_long()
            self._open()
        except BaseException:
            self.close()
            raise

    def fits(self, lines: bytes) -> bool:
        """Whether the present part has room for ``lines``."""
        return self._used + len(lines) <= self._most

    def add(self, lines: bytes) -> None:
        """Append whole lines; of more than the part has room for only the first that fit."""
        if not self.fits(lines):
            lines = lines[: lines.rfind(b"\n", 0, max(0, self._most - self._used)) + 1]
        while lines:
            written = self._os.call("access_log.write", os.write, self._file, lines)
            self._used += written
            lines = lines[written:]

    def turn(self) -> None:
        """Begin the next part; the one before the present one is lost."""
        os.close(self._file)
        self._file = -1
        self._os.call("access_log.rename", self._rename)
        self._open()

    def close(self) -> None:
        """Close; closing twice is fine."""
        for descriptor in (self._file, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._directory = -1

    def _open(self) -> None:
        self._file = self._os.call(
            "access_log.open", open_file, self._name, _FLAGS, MODE, dir_fd=self._directory
        )
        make_private(self._file)
        self._used = os.fstat(self._file).st_size
        torn = self._used and os.pread(self._file, 1, self._used - 1) != b"\n"
        start = (b"\n" if torn else b"") + self._beginning
        if not self.fits(start):
            self.turn()
        else:
            self.add(start)

    def _rename(self) -> None:
        directory = self._directory
        os.rename(self._name, self._older, src_dir_fd=directory, dst_dir_fd=directory)

    def _remove_too_long(self) -> None:
        """Parts from a time when more was allowed would break the bound."""
        for name in (self._name, self._older):
            try:
                found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
                if found.st_size > self._most:
                    os.unlink(name, dir_fd=self._directory)
            except FileNotFoundError:
                continue


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
