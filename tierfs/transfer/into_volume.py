"""A volume that is opened to adopt a tree into it, as nobody has it mounted."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tierfs.common.metrics import Metrics
from tierfs.common.tree_report import Report, Step
from tierfs.fs.volume import Volume, open_volume
from tierfs.policy.volume_file import load_volume_file
from tierfs.transfer.adopt import Port

GARBAGE_THRESHOLD: Final = 10_000
"""Containers that are made and stay between two looks."""


class OpenVolume:
    """The volume of a volume file."""

    def __init__(self, volume_file: Path) -> None:
        """Open it.

        Raises:
            TierfsError: it is mounted, or cannot be opened.
        """
        self._volume = open_volume(load_volume_file(volume_file), metrics=Metrics())
        self.settings = self._volume.settings
        # With its default, looking for cycles takes a twentieth of the time; there are none.
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)

    def close(self) -> None:
        """Close it; all is durable then."""
        self._volume.close()

    def port(self, tree: Path, target: str, *, take: bool, heads: bool) -> Port:
        """What adopts ``tree`` into the directory ``target``."""
        return _Local(self._volume, tree, target, take=take, heads=heads)


class _Local:
    """A port to an open volume."""

    def __init__(self, volume: Volume, tree: Path, target: str, *, take: bool, heads: bool) -> None:
        self._volume = volume
        self._tree, self._target = os.fsencode(tree), os.fsencode(target)
        self._take, self._heads = take, heads

    def adopt(self, steps: Sequence[Step]) -> Report:
        """See ``Port``."""
        outcome = self._volume.fs.adoption.run(
            self._tree, self._target, steps, take=self._take, heads=self._heads
        )
        if self._volume.checkpoints.is_due():
            self._volume.checkpoints.make()
        return outcome

    def settle(self) -> None:
        """See ``Port``."""
        self._volume.fs.adoption.settle()
