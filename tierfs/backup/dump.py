"""The lines of a volume's index, or of a backup."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tierfs.backup.files import chain_from
from tierfs.backup.making import decompressed
from tierfs.fs.identity import locked
from tierfs.metadata.dumping import dump_lines
from tierfs.metadata.integrity import IntegrityCheck
from tierfs.metadata.restoring import RestoredIndex
from tierfs.policy.volume_file import VolumeFile


def dump_volume(settings: VolumeFile) -> Iterator[str]:
    """The lines of the index of a volume that is not mounted.

    Raises:
        VolumeRefused: the directories are not this volume, or the index is of another schema.
        VolumeBusy: it is mounted.
        IndexFailed: the index cannot be read.
    """
    with locked(settings):
        with closing(IntegrityCheck(settings.index)) as index:
            index.require_current()
        yield from dump_lines(settings.index)


def dump_backup(directory: Path, backup: Path | None = None) -> Iterator[str]:
    """The lines of the newest backup in ``directory``, or of ``backup``, and the changes since.

    The index is decompressed into the directory for temporary files.

    Raises:
        VolumeRefused: there is no backup, or it is of a newer schema.
        DamageFound: it is damaged.
        IndexFailed, OSError: it could not be read, or not be decompressed.
    """
    chain = chain_from(directory, backup)
    with tempfile.TemporaryDirectory(prefix="tierfs-dump-") as home:
        path = Path(home) / "index.db"
        with decompressed(chain.backup.path) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        with closing(RestoredIndex(path)) as index:
            index.migrate()
            for segment in chain.segments:
                index.replay(segment.path)
        yield from dump_lines(path)
