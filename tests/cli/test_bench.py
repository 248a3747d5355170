"""``tierfs bench`` on small directories; nothing is timed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.support.fixtures import MakeMount
from tierfs.cli import bench
from tierfs.cli.main import main
from tierfs.common.errors import DamageFound, ExitCode

FIGURES = {figure.name for part in bench.PARTS.values() for figure in part}
SMALL = ("--files=10", "--size=100B", "--repeat=2", "--json=f.json")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with two empty ones; the machine keeps its caches."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "drop_caches").touch()
    monkeypatch.setattr(bench, "DROP_CACHES", tmp_path / "drop_caches")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_figure_is_measured_in_every_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "a", "other=b", *SMALL]) == 0
    results = json.loads(Path("f.json").read_text())["results"]
    assert {(one["figure"], one["side"]) for one in results} == {
        (figure, side) for figure in FIGURES for side in ("a", "other")
    }
    assert all(len(one["samples"]) == 2 and min(one["samples"]) > 0 for one in results)
    shown = capsys.readouterr().out
    assert "2 turns; ratios are to a: above 1 is better." in shown
    assert Path("drop_caches").read_text() == "3\n"
    assert os.listdir("a") == os.listdir("b") == []


def test_a_mount_is_measured_as_any_directory(make_mount: MakeMount) -> None:
    mount = make_mount()
    assert main(["bench", "a", f"tierfs={mount.path}", *SMALL]) == 0
    results = json.loads(Path("f.json").read_text())["results"]
    assert {one["side"] for one in results} == {"a", "tierfs"}
    assert os.listdir(mount.path) == []


def test_ratios_are_taken_turn_by_turn_and_less_time_is_better() -> None:
    report = bench.Report(["a", "b"], 2, 0)
    for side, rate, time in (("a", 10, 4), ("b", 30, 2), ("a", 1, 8), ("b", 2, 16)):
        one = bench.Side(side, Path(), (), 1, 1)
        report.enter(one, {bench.CREATE: float(rate), bench.FIRST_BYTE: float(time)})
    ratios = {
        (one["figure"], one["side"]): one["times_better_than_first"]
        for one in report.plain()["results"]
    }
    assert ratios[bench.CREATE.name, "b"] == [3, 2]
    assert ratios[bench.FIRST_BYTE.name, "b"] == [2, 0.5]


def test_without_root_figures_of_cold_names_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "DROP_CACHES", Path("nowhere", "drop_caches"))
    assert main(["bench", "a", *SMALL]) == 0
    results = json.loads(Path("f.json").read_text())["results"]
    assert {one["figure"] for one in results} == FIGURES - {"first epoch", "first lookup"}
    assert "names stayed cached for a" in capsys.readouterr().out


def test_only_what_is_asked_for_is_measured() -> None:
    assert main(["bench", "a", *SMALL, "--only=create, epoch"]) == 0
    results = json.loads(Path("f.json").read_text())["results"]
    assert [one["figure"] for one in results] == ["first epoch", "epoch again", "create"]


def test_wrong_bytes_are_refused_and_not_measured() -> None:
    Path("short").write_bytes(b"123")
    path = os.fsencode("short")
    with pytest.raises(DamageFound, match="short: 3 bytes instead of 4"):
        bench.read([path], 4)
    with pytest.raises(DamageFound, match="short has not 4 bytes"):
        bench.look_up([path], 4)
    with pytest.raises(DamageFound, match="short: 3 bytes instead of 65536"):
        bench.read_head(path)


def test_an_interrupt_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.bench.read_head", side_effect=KeyboardInterrupt):
        assert main(["bench", "a", "b", *SMALL]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert os.listdir("a") == os.listdir("b") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere is not a directory"),
        (["a", "a=b"], "two directories are called a; name them: NAME=DIR"),
        (["a", "--only=epochs"], "epochs is none of: epoch, first-byte, metadata, create"),
        (["a", "--size=64K"], '"K" is not clear; write 64KiB'),
        (["a", "--json=nowhere/f.json"], "nowhere does not exist; make it first"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_too_little_room_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "a", "--files=1000000", "--size=1TiB"]) == ExitCode.UNEXPECTED
    assert "are needed; choose fewer or smaller files" in capsys.readouterr().err


def test_what_is_there_is_not_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a", "tierfs-bench").mkdir()
    assert main(["bench", "a", *SMALL]) == ExitCode.USAGE
    assert "delete it" in capsys.readouterr().err
    assert os.listdir("a") == ["tierfs-bench"]
