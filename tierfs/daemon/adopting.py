"""What ``tierfs adopt`` asks a daemon for: each request is a transaction or a few."""

from __future__ import annotations

import os
from typing import Any

from tierfs.common.errors import UsageError
from tierfs.daemon.connection import Connection
from tierfs.fs.adoption import Outcome, Step
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
        """Adopt names of directories of a tree: ``steps`` are pairs of a path and a list of names.

        Raises:
            UsageError: ``steps`` is something else, or the mount is read-only.
        """
        self._require_writable()
        outcome = self._volume.fs.adoption.run(
            os.fsencode(tree), os.fsencode(target), _steps(steps), take=take, heads=heads
        )
        return shown(outcome)

    def settle(self) -> dict[str, Any]:
        """Let what was adopted survive a power cut; what is taken loses its own names."""
        self._require_writable()
        self._volume.fs.adoption.settle()
        return {}

    def refresh(self, path: str, after: int) -> dict[str, Any]:
        """Take the originals below a path as they are now, some hundred; ``next``: go on there."""
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


def shown(outcome: Outcome) -> dict[str, Any]:
    """An outcome for JSON."""
    return {
        "linked": outcome.linked,
        "copied": outcome.copied,
        "copied_bytes": outcome.copied_bytes,
        "present": outcome.present,
        "links": outcome.links,
        "others": outcome.others,
        "directories": outcome.directories,
        "problems": [[os.fsdecode(path), reason] for path, reason in outcome.problems],
    }


def _steps(value: object) -> list[Step]:
    try:
        return [
            Step(os.fsencode(path), [os.fsencode(name) for name in names])
            for path, names in value  # type: ignore[attr-defined]
        ]
    except (TypeError, ValueError, AttributeError):
        raise UsageError("steps are pairs of a path and a list of names") from None
