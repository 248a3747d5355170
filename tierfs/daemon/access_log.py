"""The access log of a mount, when its volume file asks for one."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tierfs.common.errors import MountFailed
from tierfs.daemon.tiering import Tiering
from tierfs.fs.volume import Volume
from tierfs.metadata.reader import IndexReader
from tierfs.policy.volume_file import AccessLogSettings
from tierfs.tiering.access_recorder import AccessRecorder, facts_of


@contextmanager
def recording(volume: Volume, tiering: Tiering) -> Iterator[None]:
    """While it is open, what ``tiering`` sees is recorded.

    Raises:
        MountFailed: the log cannot be made or continued.
    """
    settings = volume.settings.access_log
    if settings is None:
        yield
        return
    index = volume.index
    with closing(
        IndexReader(index.path, read_only=index.read_only, prepare=index.store_noted)
    ) as survey:
        recorder = _recorder(volume, survey, settings)
        with closing(recorder):
            tiering.listen(recorder.observe)
            yield


def _recorder(volume: Volume, survey: IndexReader, settings: AccessLogSettings) -> AccessRecorder:
    try:
        return AccessRecorder(
            settings.file,
            settings.size,
            functools.partial(facts_of, survey),
            head=volume.settings.head,
            flash=volume.flash_space().capacity,
        )
    except OSError as error:
        raise MountFailed(
            f"{volume.settings.path}: access_log: {settings.file} cannot be opened:"
            f" {error.strerror}; correct its name, or its directory's permissions"
        ) from error
