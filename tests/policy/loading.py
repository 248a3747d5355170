"""Load a volume file from text, and take its complaints apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierfs.base.errors import ConfigError
from tierfs.policy.volume_file import VolumeFile, load_volume_file

GOOD = "version: 1\nflash: /nvme/images\ndisk: /raid/images\n"
"""The three keys that every volume file has."""

CONFIGS = Path(__file__).parents[2] / "configs"


class Loader:
    """A volume file in a directory of its own, rewritten for each load."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "volume.yaml"

    def load(self, text: str | bytes) -> VolumeFile:
        data = text.encode() if isinstance(text, str) else text
        self.path.write_bytes(data)
        return load_volume_file(self.path)

    def complaints(self, text: str | bytes) -> list[str]:
        """What loading `text` says, a problem a line, without the file's name."""
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        lines = str(caught.value).split("\n")
        assert all(line.startswith(f"{self.path}:") for line in lines), lines
        return [line.removeprefix(f"{self.path}:") for line in lines]
