"""What ``tierfs adopt`` asks a daemon for: each request is a transaction or a few."""

from __future__ import annotations

import os
from typing import Any

from tierfs.common.errors import UsageError
from tierfs.common.tree_report import Step
from tierfs.daemon.connection import Connection
from tierfs.fs.volume import Volume


class Adopting:
    """The verbs; paths are text as ``os.fsdecode`` makes it, those of the volume from its root."""

    def __init__(self, volume: Volume, connection: Connection) -> None:
        self._volume = volume
        self._connection = connection
        volume.fs.adoption.added = self._added

    def adopt(
        self, tree: str, target: str, steps: object, *, take: bool, heads: bool
    ) -> dict[str, Any]:
        """Adopt names of directories of a tree: ``steps`` are lists of what a ``Step`` has.

        Raises:
            UsageError: ``steps`` is something else, or the mount is read-only.
        """
        self._require_writable()
        return self._volume.fs.adoption.run(
            os.fsencode(tree), os.fsencode(target), _steps(steps), take=take, heads=heads
        ).record()

    def settle(self) -> dict[str, Any]:
        """Let what was adopted survive a power cut; what is taken loses its own names."""
        self._require_writable()
        self._volume.fs.adoption.settle()
        return {}

    def refresh(self, path: str, after: int) -> dict[str, Any]:
        """Refresh some hundred originals below a path; ``next`` in the answer: continue there."""
        self._require_writable()
        fs, target = self._volume.fs, os.fsencode(path)
        page = fs.adoption.below(target, after)
        refreshed = []
        for ino in page:
            if fs.adoption.is_below(ino, target) and fs.data.refresh(ino):
                self._connection.drop_pages(ino)
                refreshed.append(os.fsdecode(fs.names.path_of(ino) or b""))
        return {"next": page[-1] if page else None, "refreshed": refreshed}

    def _added(self, directory: int, names: Any) -> None:  # noqa: ANN401 - names of any sequence
        """The kernel may hold that there is no such name, for as long as it knows the directory."""
        if self._volume.fs.lookup_counts.count(directory) or directory == 1:
            self._connection.invalidate_names(directory, names)

    def _require_writable(self) -> None:
        if self._volume.read_only:
            raise UsageError("the mount is read-only")


def _steps(value: object) -> list[Step]:
    try:
        return [
            Step(os.fsencode(path), *([os.fsencode(name) for name in names] for names in both))
            for path, *both in value  # type: ignore[attr-defined]
        ]
    except (TypeError, ValueError, AttributeError):
        raise UsageError("a step is a path, a list of files, and one of others") from None
