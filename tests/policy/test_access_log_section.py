"""The section ``access_log`` of a volume file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.policy.loading import CONFIGS, GOOD, Loader
from tierfs.base.units import MIB
from tierfs.policy.access_log import AccessLogSettings
from tierfs.policy.volume_file import load_volume_file


def test_nothing_is_recorded_unless_asked_to(loader: Loader) -> None:
    assert loader.load(GOOD).access_log is None


def test_every_key_is_read(loader: Loader) -> None:
    home = loader.path.parent
    plain = loader.load(f"{GOOD}access_log: {{file: a}}\n").access_log
    assert plain == AccessLogSettings(home / "a", 64 * MIB)
    sized = loader.load(f"{GOOD}access_log: {{file: /a, size: 1MiB}}\n").access_log
    assert sized == AccessLogSettings(Path("/a"), MIB)
    assert load_volume_file(CONFIGS / "volume.example.yaml").access_log == AccessLogSettings(
        Path("/var/log/tierfs/images.access"), 64 * MIB
    )


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{size: 1MiB}", '4:13: "file" is missing from "access_log"'),
        ("{file: a, size: 1KiB}", '4:29: "size" must be 1MiB to 1TiB, not "1KiB"'),
        ("{file: a, siez: 1MiB}", 'unknown key "siez" in "access_log"; did you mean "size"?'),
        ("{file: volume.yaml}", '4:20: "access_log.file" is the same file as the volume file'),
        ("{file: /nvme}", '"access_log.file" must be a file, but "flash" makes /nvme a directory'),
        ("a", '4:13: "access_log" must hold keys of its own'),
    ],
)
def test_mistakes_are_explained(loader: Loader, section: str, said: str) -> None:
    lines = loader.complaints(f"{GOOD}access_log: {section}\n")
    assert any(said in line for line in lines), lines
