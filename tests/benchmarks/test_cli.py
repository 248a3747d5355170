"""The command line of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import machine
from tests.benchmarks.__main__ import SCENARIOS, main
from tierfs.common.errors import ExitCode


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with two empty ones; the machine keeps its caches."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "drop_caches").touch()
    monkeypatch.setattr(machine, "DROP_CACHES", tmp_path / "drop_caches")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_scenarios_on_directories(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["measure", "a", "other=b", "--files=64", "--stream-size=1MiB", "--repeat=2"]
    assert main([*words, "--json=f.json", f"--only={','.join(SCENARIOS)}"]) == 0
    assert "Ratios are to a" in capsys.readouterr().out
    [told] = json.loads(Path("f.json").read_text())["reports"]
    assert {one["side"] for one in told["results"]} == {"a", "other"}
    assert {len(one["samples"]) for one in told["results"]} == {2}
    assert list(Path("a").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["suite", "--only=memory"], "say how many files, such as --memory-files 1000000"),
        (["suite", "--stream-size=100KiB"], "--stream-size 100KiB: choose a multiple of 1MiB"),
        (["suite", "--only=epoch,epochs"], '"epochs" is none of: empty file, mkdir, rename'),
        (["suite", "--sides=ours"], '"ours" is none of: native, floor, tierfs'),
        (["suite", "--against=a"], "--against a: there is no .venv/bin/tierfs; run make setup"),
        (["suite", "--write-size=5KiB"], "--write-size 5KiB: choose a multiple of 1MiB"),
        (["suite", "--dir=nowhere"], "'nowhere' does not exist"),
        (["suite", "--json=nowhere/f.json"], "nowhere does not exist; make it first"),
        (["measure", "nowhere"], "nowhere is not a directory"),
        (["measure", "a", "a=b"], "two directories have one name"),
        (["measure", "a", "--pin=4095"], "core 4095 cannot be used here; choose one of"),
        (["disk", "a", "b", "--seek=30"], "of the three seek times"),
    ],
)
def test_mistakes_are_told_before_anything_begins(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("suite", "measure", "disk", "policies"):
        assert main([command, "--help"]) == 0
        assert "Usage: python -m tests.benchmarks" in capsys.readouterr().out
