from __future__ import annotations

import os
from pathlib import Path

import pytest

from tierfs.cli.main import main
from tierfs.common.errors import ExitCode
from tierfs.fs.identity import volume_uuid
from tierfs.policy.volume_file import load_volume_file


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with two empty directories."""
    for name in ("flash", "disk"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*more: str, name: str = "v.yaml") -> int:
    return main(["init", name, "--flash", "flash", "--disk", "disk", *more])


def test_a_volume_is_made(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init() == 0
    settings = load_volume_file(home / "v.yaml")
    assert (settings.flash, settings.disk) == (home / "flash", home / "disk")
    assert (settings.index, settings.head) == (home / "flash" / "index.db", 65536)
    assert f"Volume {volume_uuid(settings)} is ready" in capsys.readouterr().out


def test_head_and_index_are_chosen(home: Path) -> None:
    (home / "fast").mkdir()
    assert init("--head", "1MiB", "--index", "fast/names.db") == 0
    settings = load_volume_file(home / "v.yaml")
    assert (settings.head, settings.index) == (1024 * 1024, home / "fast" / "names.db")
    assert settings.index.exists()


def test_an_existing_volume_file_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "v.yaml").write_text("mine")
    assert init() == ExitCode.USAGE
    assert "v.yaml exists already" in capsys.readouterr().err
    assert (home / "v.yaml").read_text() == "mine"
    assert list((home / "flash").iterdir()) == []


def test_a_directory_in_use_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "disk" / "photo").touch()
    assert init() == ExitCode.VOLUME_REFUSED
    assert "is not empty" in capsys.readouterr().err
    assert sorted(os.listdir(home)) == ["disk", "flash"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("lots", '"lots" is not a size'),
        ("5KiB", '"5KiB" is not a multiple of 4KiB'),
        ("0", '"0" is not a multiple'),
        ("2GiB", "from 4KiB to 1GiB"),
    ],
)
def test_a_bad_head_leaves_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], head: str, message: str
) -> None:
    assert init("--head", head) == ExitCode.USAGE
    assert message in capsys.readouterr().err
    assert [list((home / tier).iterdir()) for tier in ("flash", "disk")] == [[], []]
    assert not (home / "v.yaml").exists()


def test_tiers_that_overlap(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "v.yaml", "--flash", "flash", "--disk", "flash/in"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f'tierfs: "disk" is inside "flash", {home}/flash; ')
    assert "v.yaml" not in said
    assert not (home / "v.yaml").exists()


@pytest.mark.parametrize("tier", ["flash", "disk"])
def test_a_volume_file_in_a_tier(home: Path, capsys: pytest.CaptureFixture[str], tier: str) -> None:
    assert init(name=f"{tier}/v.yaml") == ExitCode.USAGE
    assert f"{tier}/v.yaml would lie in {tier}" in capsys.readouterr().err
    assert list((home / tier).iterdir()) == []


@pytest.mark.usefixtures("home")
def test_a_missing_directory_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert init(name="none/v.yaml") == ExitCode.USAGE
    assert "none/v.yaml cannot be written: No such file" in capsys.readouterr().err
