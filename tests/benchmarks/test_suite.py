"""The acceptance run, small: what it stages it takes away again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.machine import filesystem_of, mountpoints
from tests.benchmarks.report import Report
from tests.benchmarks.runner import Conditions, measure
from tests.benchmarks.stage import run, stage
from tests.benchmarks.suite import Outcome
from tests.benchmarks.tree import Tree
from tierfs.common.errors import TierfsError
from tierfs.daemon.interpreter import module_command

pytestmark = pytest.mark.long

SMALL = (
    *("--repeat=1", "--files=20", "--walked=20", "--created=10", "--changed=10"),
    *("--stream-size=1MiB", "--write-size=1MiB", "--tree-files=20"),
)
PROGRAM = module_command("tierfs")
SUITE = [sys.executable, "-m", "tests.benchmarks", "suite"]


def suite(place: Path, *more: str) -> list[str]:
    return [*SUITE, f"--dir={place}", f"--disk-dir={place}", *SMALL, *more]


def mounted_below(place: Path) -> list[Path]:
    return [path for path in mountpoints() if place in path.parents]


def test_a_run_judges_and_leaves_nothing(scratch: Path, tmp_path: Path) -> None:
    words = suite(scratch, "--only=epoch,ingest", f"--json={tmp_path}/s.json")
    said = run(words)
    assert "Wanted and measured" in said
    document = json.loads((tmp_path / "s.json").read_text())
    assert {one["pinned"] for one in document["reports"]} == {0, None}
    warm = [one for one in document["verdicts"] if one["figure"] == "warm epoch, against native"]
    assert [one["cores"] for one in warm] == ["pinned", "free"]
    assert all(one["measured"] > 0 for one in warm)
    assert os.listdir(scratch) == []


def test_another_tierfs_is_measured_in_turns(scratch: Path, tmp_path: Path) -> None:
    words = suite(scratch, "--only=rename,tree on ext4", f"--against={shlex.join(PROGRAM)}")
    said = run([*words, "--repeat=3", f"--json={tmp_path}/s.json"])
    assert "Before and after, turn by turn" in said
    reports = json.loads((tmp_path / "s.json").read_text())["reports"]
    sides = [{result["side"] for result in one["results"]} for one in reports]
    assert sides == [{"before", "tierfs"}] * 2 + [{"before on ext4", "tierfs on ext4"}] * on_a_disk(
        scratch
    )
    assert os.listdir(scratch) == []


def on_a_disk(place: Path) -> int:
    """1 where the suite makes a filesystem upon a loop device: not in memory, and as root."""
    return int(filesystem_of(place) != "tmpfs" and os.geteuid() == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(scratch: Path, number: int) -> None:
    words = suite(scratch, "--only=walk", "--walked=1000000")
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        # Everything is mounted when the first files are made, and a million take a while.
        while not list(scratch.glob("*/native/tierfs-bench/*/00000/*")):
            if process.poll() is not None or time.monotonic() > deadline:
                process.terminate()
                break
            time.sleep(0.1)
        mounted = mounted_below(scratch)
        process.send_signal(number)
        _, said = process.communicate(timeout=90)
    assert mounted
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert mounted_below(scratch) == []
    assert os.listdir(scratch) == []


def test_a_stage_is_cleared_after_an_error(scratch: Path) -> None:
    def fail_while_mounted() -> None:
        with stage() as made:
            home = made.directory(scratch)
            side = made.volume(home, "v", PROGRAM)
            (side.directory / "file").touch()
            assert mounted_below(scratch) == [side.directory]
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail_while_mounted()
    assert os.listdir(scratch) == []


def test_signals_are_as_before_after_a_stage() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stage():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_floor_answers_what_the_programs_of_a_tree_ask(scratch: Path) -> None:
    store = scratch / "store"
    store.mkdir()
    with stage() as made:
        for name, place in (("floor", None), ("kept", store)):
            side = made.floor(scratch, name, place)
            assert side is not None
            report = measure("", [Tree("tree", 40)], [side], Conditions(repeat=1))
            assert {result.side for result in report.results} == {name}
            home = side.directory / "home"
            (home / "below").mkdir(parents=True)
            (home / "file").write_bytes(b"bytes")
            (home / "file").rename(home / "below" / "renamed")
            assert sorted(path.name for path in home.rglob("*")) == ["below", "renamed"]
            assert (home / "below" / "renamed").stat().st_size == 5
            kept = [path.read_bytes() for path in store.rglob("*") if path.is_file()]
            assert kept == ([b"bytes"] if place else [])
            shutil.rmtree(home)
    assert not [path for path in store.rglob("*") if path.is_file()]
    assert not mounted_below(scratch)


def test_a_peer_that_is_not_installed_is_none(scratch: Path) -> None:
    with stage() as made:
        assert made.peer(scratch, "no-such-filesystem", scratch) is None


def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(TierfsError, match=r"sh -c echo so; exit 3 ended with 3: so"):
        run(["sh", "-c", "echo so; exit 3"])
    with pytest.raises(TierfsError, match="no-such-program"):
        run(["no-such-program"])


def test_one_part_that_fails_does_not_end_the_others() -> None:
    outcome = Outcome(lambda _report: None)

    def fail() -> Report:
        raise TierfsError("no room")

    outcome.attempt("walk", "free", fail)
    assert outcome.failures == ["walk (free) failed: no room"]
    assert outcome.reports == {}
