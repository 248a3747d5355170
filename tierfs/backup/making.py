"""Making a backup: copy, compress, verify, and only then name it. For a process of its own.

Bytes go to a file that begins with ``.``; a backup that was interrupted is not a backup, and the
next one removes what it left. A disk that refuses it, or gives other bytes back, leaves the older
ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import zstandard

from tierfs.backup.files import backups, directory_of, index_name, segments, superfluous
from tierfs.common.errors import DamageFound
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.priority import Pace
from tierfs.common.sync import sync_file
from tierfs.fs.identity import locked
from tierfs.metadata.copying import IndexState, copy_index
from tierfs.metadata.integrity import IntegrityCheck
from tierfs.policy.volume_file import VolumeFile

UNFINISHED: Final = ".unfinished"
COMPRESSED: Final = ".unfinished.zst"

LEVEL: Final = 3
CHUNK: Final = 1024 * 1024
HEADER_BYTES: Final = 18
"""Of a frame of zstd at most, with the length of what is in it."""

PRIVATE: Final = 0o700

NOTHING_CHANGES: Final = 2**62
"""A serial behind all others: of an index that nobody has open."""


class Job(NamedTuple):
    """What to back up, and how; picklable."""

    source: Path
    """The index."""
    directory: Path
    keep: int
    memory: int
    """Bytes for pages of the copy."""
    after: int = 0
    """The serial of the feed from which it keeps what is changed meanwhile."""
    gentle: bool = True
    """Whether it rests as long as it works: somebody uses the volume."""


class Made(NamedTuple):
    """A backup that was made and verified; lengths in bytes."""

    path: Path
    state: IndexState
    index_bytes: int
    backup_bytes: int


def make_backup(job: Job, checkpoints: int | None = None, os_: Os = SYSTEM) -> Made:
    """Back up an index; ``checkpoints`` as in `copy_index`.

    Raises:
        IndexFailed: the index could not be read, or the copy not be written.
        DamageFound: what is read back is not what was written.
        OSError: the directory cannot be written.
    """
    make_directory(job.directory)
    copy, compressed = job.directory / UNFINISHED, job.directory / COMPRESSED
    for leftover in (copy, compressed):
        leftover.unlink(missing_ok=True)
    pause: Callable[[], object] = Pace().rest if job.gentle else _go_on
    try:
        state = os_.call(
            "backup.copy",
            copy_index,
            job.source,
            copy,
            job.memory,
            checkpoints=checkpoints,
            after=job.after,
            pause=pause,
        )
        written = os_.call("backup.compress", _compress, copy, compressed, pause)
        if os_.call("backup.verify", _digest_of, compressed, pause) != written:
            raise DamageFound(f"{job.directory}: the backup reads back with other bytes")
        path = job.directory / index_name(*state)
        made = Made(path, state, copy.stat().st_size, compressed.stat().st_size)
        os_.call("backup.rename", compressed.rename, path)
        sync_directory(job.directory)
    finally:
        for leftover in (copy, compressed):
            leftover.unlink(missing_ok=True)
    for each in superfluous(
        backups(job.directory), segments(job.directory, state.generation), job.keep
    ):
        os_.call("backup.unlink", each.path.unlink)
    return made


def make_directory(directory: Path) -> None:
    """Make the directory of the backups, for its owner alone.

    Raises:
        OSError: it cannot be made.
    """
    directory.mkdir(PRIVATE, parents=True, exist_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in it survive a power cut.

    Raises:
        OSError: they may not.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def _go_on() -> None:
    """Nobody waits for what this takes."""


def _compress(source: Path, target: Path, pause: Callable[[], object]) -> bytes:
    """Write ``source`` to ``target``, durably; returns the digest of its bytes."""
    digest = hashlib.blake2b()
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with source.open("rb") as plain, os.fdopen(descriptor, "wb") as file:
        with compressor.stream_writer(file, size=source.stat().st_size, closefd=False) as writer:
            while data := plain.read(CHUNK):
                digest.update(data)
                writer.write(data)
                pause()
        file.flush()
        sync_file(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # verify the device's bytes
    return digest.digest()


def _digest_of(path: Path, pause: Callable[[], object]) -> bytes:
    digest = hashlib.blake2b()
    with decompressed(path) as stream:
        while data := stream.read(CHUNK):
            digest.update(data)
            pause()
    return digest.digest()


@contextmanager
def decompressed(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a backup, checked against the checksum in it.

    Raises:
        DamageFound: they are damaged, or the file ends too early.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            wanted = zstandard.frame_content_size(file.read(HEADER_BYTES))
            file.seek(0)
            with zstandard.ZstdDecompressor().stream_reader(file, closefd=False) as stream:
                yield stream
                if stream.tell() != wanted:
                    raise DamageFound(f"{path}: the backup ends too early")
    except zstandard.ZstdError as error:
        raise DamageFound(f"{path}: the backup is damaged ({error})") from error


def back_up(settings: VolumeFile) -> Made:
    """Back up the index of a volume that is not mounted.

    Raises:
        VolumeRefused: the directories are not this volume, or have no index.
        VolumeBusy: it is mounted.
        DamageFound, IndexFailed, OSError: as `make_backup`.
    """
    with locked(settings):
        with closing(IntegrityCheck(settings.index)) as index:
            index.require_current()
        job = Job(
            settings.index,
            directory_of(settings),
            settings.backup.keep,
            settings.backup.memory,
            NOTHING_CHANGES,
            gentle=False,
        )
        return make_backup(job)
