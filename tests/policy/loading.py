"""Load volume files and policies from text, take their diagnostics apart, and make up files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tierfs.common.errors import ConfigError
from tierfs.policy.match import Facts
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy
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

    def diagnostics(self, text: str | bytes) -> list[str]:
        """What loading `text` says, a problem a line, without the file's name."""
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        lines = str(caught.value).split("\n")
        assert all(line.startswith(f"{self.path}:") for line in lines), lines
        return [line.removeprefix(f"{self.path}:") for line in lines]


NOW = 1_800_000_000 * 10**9
"""A time, in nanoseconds since the epoch."""

ISSUE = """\
version: 1
head: 64KiB
mirror: async
flash: {high_watermark: 85%, low_watermark: 75%, reserve: 5GiB}
mover: {rate: 200MiB/s, concurrency: 2, window: "22:00-06:00", suspend_on_errors: 50%}
rules:
  - name: active-screens
    match: {path: "/screens/2026-*/**", size: "<= 4MiB"}
    head: all
    pin: true
  - name: archive
    match: {any: [{idle: "> 30d"}, {xattr: {user.state: archived}}]}
    head: none
  - name: warm-up-fast
    match: {path: "**/*.tiff", owner: root}
    head: 128KiB
    promote: {reads: 3, within: 1h}
    evict: heat
"""
"""The shape that is fixed."""


class PolicyLoader:
    """A policy file in a directory of its own, rewritten for each load."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "policy.yaml"

    def load(self, text: str | bytes) -> Policy:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_policy(self.path)

    def rule(self, match: str) -> Policy:
        """A policy with one rule, of these conditions, named ``it``."""
        return self.load(f"version: 1\nrules:\n  - name: it\n    match: {match}\n")

    def diagnostics(self, text: str) -> list[str]:
        """What loading `text` says, a problem a line, without the file's name."""
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        lines = str(caught.value).split("\n")
        assert all(line.startswith(f"{self.path}:") for line in lines), lines
        return [line.removeprefix(f"{self.path}:") for line in lines]


class Row(NamedTuple):
    size: int
    mtime: int
    uid: int
    gid: int


def a_file(
    path: bytes = b"/a",
    *,
    size: int = 0,
    age: int = 0,
    idle: int | None = None,
    uid: int = 0,
    gid: int = 0,
    xattrs: Mapping[bytes, bytes] | None = None,
    reads: int | None = None,
    others: tuple[bytes, ...] = (),
    header: Mapping[str, float | str] | None = None,
) -> Facts:
    """Facts; lengths of time in nanoseconds."""
    return Facts(
        now=NOW,
        row=Row(size, NOW - age, uid, gid),
        last_read=None if idle is None else NOW - idle,
        find_paths=lambda: [path, *others],
        find_xattr=(xattrs or {}).get,
        count_reads=lambda _within: reads,
        find_fact=(header or {}).get,
    )
