"""Header facts of a mount: who looks at the files, and the control verbs of `tierfs facts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tierfs.common.errors import UsageError
from tierfs.common.metrics import Metrics
from tierfs.daemon.interpreter import module_command
from tierfs.facts.gathering import Gathering, GatheringPorts, Limits, forget_reader
from tierfs.facts.process import MODULE, WorkerProcess
from tierfs.fs.volume import Volume
from tierfs.metadata.reader import IndexReader

OFF: Final = (
    "header facts are off: set 'facts: {enabled: true}' in the volume file, and mount it again"
)


class HeaderFactsOfMount:
    """The facts of one mount, if its volume file asks for them."""

    def __init__(self, volume: Volume, limits: Limits, metrics: Metrics) -> None:
        self._volume = volume
        self._gathering: Gathering | None = None
        if volume.read_only:
            return
        if not volume.settings.facts.enabled:
            forget_reader(volume.index)
            return
        index = volume.index
        self._catalog = IndexReader(index.path, prepare=index.store_deferred, flush=index.flush)
        self._gathering = Gathering(
            GatheringPorts(
                volume.fs, index, self._catalog, limits, WorkerProcess(module_command(MODULE))
            ),
            volume.settings.facts.quiet,
            metrics,
        )

    @property
    def run(self) -> Callable[[], None] | None:
        """Looks at files until `close`, in a thread; None: no file is looked at."""
        return None if self._gathering is None else self._gathering.run

    def close(self) -> None:
        """End `run`, and store how far it is; before the mount is gone."""
        if self._gathering is not None:
            self._gathering.close()
            self._catalog.close()

    def status(self) -> dict[str, Any]:
        """How far it is; a record for JSON."""
        return {"enabled": False} if self._gathering is None else self._gathering.status()

    def start(self) -> dict[str, Any]:
        """Look at every file that is not looked at yet; returns the status.

        Raises:
            UsageError: facts are off, or the mount is read-only.
        """
        return self._required().start()

    def errors(self, after: int) -> dict[str, Any]:
        """The first files behind an inode number whose headers could not be read.

        Raises:
            UsageError: facts are off, or the mount is read-only.
        """
        return self._required().errors(after)

    def _required(self) -> Gathering:
        if self._gathering is None:
            raise UsageError(
                "the mount is read-only: no facts are read" if self._volume.read_only else OFF
            )
        return self._gathering
