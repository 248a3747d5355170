"""The command lines of ``tierfs bench``."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.support.fixtures import MakeMount
from tierfs.base.errors import ExitCode
from tierfs.bench.framework import caches
from tierfs.cli.bench.group import VERBS
from tierfs.cli.main import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with two empty ones; the machine keeps its caches."""
    for name in ("a", "plain"):
        (tmp_path / name).mkdir()
    (tmp_path / "drop_caches").touch()
    monkeypatch.setattr(caches, "DROP_CACHES", tmp_path / "drop_caches")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SMALL = {
    "epoch": ["--files=10", "--size=1KiB"],
    "metadata": ["--files=10"],
    "stream": ["--size=1MiB"],
    "ingest": ["--files=10", "--size=1KiB"],
}


def bench(verb: str, *more: str, repeat: int = 2) -> int:
    small = SMALL[verb]
    return main(["bench", verb, "a", "--native=plain", f"--repeat={repeat}", *small, *more])


@pytest.mark.parametrize("verb", SMALL)
def test_a_table_json_and_a_chart(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(verb, "--json=f.json", "--chart=f.svg") == 0
    shown = capsys.readouterr().out
    assert "native" in shown
    assert "Ratios are to native" in shown
    [told] = json.loads(Path("f.json").read_text())["reports"]
    assert {len(one["samples"]) for one in told["results"]} == {2}
    assert {one["side"] for one in told["results"]} == {"native", "a"}
    assert ET.parse("f.svg").getroot().tag.endswith("svg")  # noqa: S314 - written by us


def test_peers_and_another_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    Path("peer").mkdir()
    assert bench("epoch", "--versus=other=peer", "--baseline=other", "--json=f.json") == 0
    assert json.loads(Path("f.json").read_text())["reports"][0]["baseline"] == "other"
    assert "Ratios are to other" in capsys.readouterr().out


def test_generated_files_stay_unless_they_are_to_be_removed() -> None:
    assert bench("epoch") == 0
    assert Path("a", "tierfs-bench").is_dir()
    assert bench("epoch", "--remove") == 0
    assert not Path("a", "tierfs-bench").exists()
    assert not Path("plain", "tierfs-bench").exists()


def test_without_root_cold_figures_are_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "DROP_CACHES", Path("nowhere", "drop_caches"))
    assert bench("epoch", "--json=f.json") == 0
    [told] = json.loads(Path("f.json").read_text())["reports"]
    assert {one["figure"] for one in told["results"]} == {"epoch again", "epoch again, processor"}
    assert "first epoch: left out for native" in capsys.readouterr().out


def test_a_side_can_be_remounted() -> None:
    assert bench("epoch", "--remount=a=echo again >> log") == 0
    assert Path("log").read_text() == "again\n" * 2


def test_the_daemon_of_a_tierfs_mount_and_a_plain_directory_are_found(
    make_mount: MakeMount,
) -> None:
    mount = make_mount()
    words = ["bench", "epoch", str(mount.path), "--repeat=1", "--files=10", "--json=f.json"]
    assert main([*words, "--pin=0"]) == 0
    [told] = json.loads(Path("f.json").read_text())["reports"]
    assert {one["side"] for one in told["results"]} == {"native", "tierfs"}
    assert told["machine"]["filesystems"]["tierfs"] == "fuse.tierfs"
    assert (mount.flash.parent / "tierfs-bench-plain" / "tierfs-bench").is_dir()


WRONG = [
    (["nowhere"], "'nowhere' does not exist"),
    (["a", "--native=nowhere"], "'nowhere' does not exist"),
    (["a", "--versus=mergerfs"], '"mergerfs" is not NAME=DIR'),
    (["a", "--versus==a"], '"=a" is not NAME=DIR'),
    (["a", "--versus=x="], '"x=" is not NAME=DIR'),
    (["a", "--versus=a/b"], '"a/b" is not NAME=DIR'),
    (["a", "--versus=x=nowhere"], "--versus x=nowhere: nowhere is not a directory"),
    (["a", "--versus=a=plain"], "two sides are called 'a'"),
    (["a", "--baseline=native"], "--baseline native: there is no such side; the sides are a"),
    (["a", "--remount=b=true"], "--remount b: there is no such side"),
    (["a", "--size=64K"], '"K" is not clear; write 64KiB'),
    (["a", "--files=0"], "0 is not in the range"),
    (["a", "--repeat=0"], "0 is not in the range"),
    (["a", "--pin=4095"], "core 4095 cannot be used here; choose one of"),
    (["a", "--chart=f.png"], "only .svg files are drawn"),
    (["a", "--json=nowhere/f.json"], "nowhere does not exist; make it first"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=str)
def test_mistakes_are_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = [] if any(word.startswith("--size") for word in words) else ["--size=1KiB"]
    small = [] if any(word.startswith("--files") for word in words) else ["--files=3"]
    assert main(["bench", "epoch", *words, *more, *small]) == ExitCode.USAGE
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_stream_is_measured_in_whole_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "stream", "a", "--size=100KiB"]) == ExitCode.USAGE
    assert "choose a multiple of 1MiB" in capsys.readouterr().err


def test_a_mount_that_is_to_be_remounted_needs_a_command(
    make_mount: MakeMount, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = make_mount()
    assert main(["bench", "epoch", str(mount.path), "--cold=remount"]) == ExitCode.USAGE
    assert "say how to remount tierfs: --remount 'tierfs=COMMAND'" in capsys.readouterr().err


def test_too_little_room_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "epoch", "a", "--files=1000000", "--size=1TiB"]) == ExitCode.UNEXPECTED
    assert "1,000,000 files of 1TiB need 977PiB" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", verb, "--help"]) == 0
    assert f"\n  tierfs bench {verb}" in capsys.readouterr().out


def test_the_group_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in VERBS)


def test_interrupting_is_no_failure_of_tierfs(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.bench.epoch.Epoch.run", side_effect=KeyboardInterrupt):
        assert bench("epoch") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only=memory"], "say how many files, such as --memory-files 1000000"),
        (["--stream-size=100KiB"], "--stream-size 100KiB: choose a multiple of 1MiB"),
        (["--only=epoch,epochs"], '"epochs" is none of: empty file, mkdir, rename'),
        (["--sides=ours"], '"ours" is none of: native, tierfs'),
        (["--against=a"], "--against a: there is no .venv/bin/tierfs; run make setup there"),
        (["--write-size=5KiB"], "--write-size 5KiB: choose a multiple of 1MiB"),
        (["--dir=nowhere"], "'nowhere' does not exist"),
        (["--chart=f.pdf"], "only .svg files are drawn"),
    ],
)
def test_mistakes_with_the_suite_are_told_before_it_begins(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "suite", *words]) == ExitCode.USAGE
    assert said in capsys.readouterr().err
