"""How the commands speak: the order of the help, --quiet, --json, many problems, colours, slips."""

from __future__ import annotations

import json
import os
import pty
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.fake_mount import FakeMount
from tests.cli.manual import Captured, fake, small, tree
from tierfs.backup.restore import Listener, Report
from tierfs.cli.main import COMMANDS, HEADINGS, main
from tierfs.cli.messages import TOLD
from tierfs.cli.restore import told
from tierfs.common.errors import ExitCode

__all__ = ["fake", "small", "tree"]


def volume_in(home: Path) -> list[str]:
    """The directories of a volume to be, as options of `tierfs init`."""
    words = []
    for tier in ("flash", "disk"):
        (home / tier).mkdir()
        words += [f"--{tier}", str(home / tier)]
    return words


def test_the_help_has_the_verbs_below_headings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert next(iter(COMMANDS)) in HEADINGS
    assert HEADINGS.keys() <= COMMANDS.keys()
    places = [shown.index(f"\n{heading}:\n  {verb} ") for verb, heading in HEADINGS.items()]
    assert places == sorted(places)
    assert "\nCommands:" not in shown


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["policy", "chek", "x"], "check"),
        (["scrub", "staus", "x"], "status"),
        (["debug-bundel", "x"], "debug-bundle"),
        (["list", "--jsn"], "--json"),
        (["fsck", "--repare", "x"], "--repair"),
    ],
)
def test_a_slip(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "Did you mean" in said
    assert meant in said


def test_quiet_prints_problems_only(
    fake: FakeMount, tree: Path, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Captured(capsys, "pin", "--quiet", small).out == ""
    assert fake.pins == {small: b"1"}
    done = Captured(capsys, "pin", "-q", small, tree / "none")
    assert (done.code, done.out) == (ExitCode.UNEXPECTED, "")
    assert done.err == f"tierfs: {tree}/none: No such file or directory\n"
    assert Captured(capsys, "pin", small).out, "the next command speaks again"


def test_a_quiet_init_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiers = volume_in(tmp_path)
    done = Captured(capsys, "init", "-q", tmp_path / "volume.yaml", *tiers)
    assert (done.code, done.out, done.err) == (0, "", "")
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    assert Captured(capsys, "policy", "check", "-q", policy).out == ""
    policy.write_text("version: 2\n")
    assert "version" in Captured(capsys, "policy", "check", "-q", policy).err


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("verb", ["pin", "where"])
def test_many_problems_are_counted(
    verb: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Captured(capsys, verb, *(tree / f"none-{number}" for number in range(TOLD + 5)))
    *told, rest = done.err.splitlines()
    assert len(told) == TOLD
    assert rest == "tierfs: and 5 more problems"
    assert done.code == ExitCode.UNEXPECTED


@pytest.mark.usefixtures("fake")
def test_sums_in_json(tree: Path, small: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    done = json.loads(Captured(capsys, "pin", "--json", "-r", tree).out)
    assert (done["verb"], done["directories"], done["files"], done["errors"]) == ("pin", 1, 2, 0)
    assert (done["bytes"], done["pending_files"], done["dry_run"]) == (983_040, 0, False)
    assert sum(done["skipped"].values()) == 2
    done = json.loads(Captured(capsys, "unpin", "--json", "-n", small, tree / "none").out)
    assert (done["dry_run"], done["errors"]) == (True, 1)


def test_init_new_uuid_version_and_check_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = tmp_path / "volume.yaml"
    tiers = volume_in(tmp_path)
    made = json.loads(Captured(capsys, "init", "--json", volume, *tiers).out)
    assert made["volume"] == str(volume)
    changed = json.loads(Captured(capsys, "new-uuid", "--json", volume).out)
    assert changed["uuid"] != made["uuid"]
    assert json.loads(Captured(capsys, "version", "--json").out)["pyfuse3"]
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    meaning = json.loads(Captured(capsys, "policy", "check", "--json", policy).out)["meaning"]
    assert "head 64KiB" in meaning["all files"]


def many_leaks(home: Path) -> Path:
    """A volume file; a directory of the volume has more foreign files than are printed."""
    volume = home / "volume.yaml"
    assert main(["init", "-q", str(volume), *volume_in(home)]) == 0
    foreign = home / "flash" / "heads"
    foreign.mkdir()
    for number in range(TOLD + 5):
        (foreign / f"notes-{number}").touch()
    return volume


def test_fsck_prints_some_of_each_kind_and_counts_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = many_leaks(tmp_path)
    done = Captured(capsys, "fsck", volume)
    lines = done.out.splitlines()
    assert [line.startswith("leak, foreign: ") for line in lines[:TOLD]] == [True] * TOLD
    assert lines[TOLD] == "and 5 more of foreign: --json lists them"
    assert lines[-1] == f"Found: leak {TOLD + 5}."
    assert len(json.loads(Captured(capsys, "fsck", "--json", volume).out)["findings"]) == TOLD + 5
    everything = Captured(capsys, "fsck", "--repair", "--yes", volume).out
    assert everything.count("leak, foreign: ") >= TOLD + 5


def test_a_quiet_fsck_prints_what_is_wrong_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = many_leaks(tmp_path)
    done = Captured(capsys, "fsck", "-q", volume)
    assert done.code == ExitCode.DAMAGE
    assert len(done.out.splitlines()) == TOLD + 1
    for foreign in (tmp_path / "flash" / "heads").iterdir():
        foreign.unlink()
    done = Captured(capsys, "fsck", "-q", volume)
    assert (done.code, done.out, done.err) == (0, "", "")


def restored(report: Report, files: int, *, as_json: bool) -> int:
    """The exit code of a restore that reports this number of files with missing bytes."""

    def work(listener: Listener) -> Report:
        for number in range(files):
            listener(b"/lost-%d" % number, "its head is missing")
        return replace(report, missing=files)

    return told(work, as_json=as_json)


def test_what_a_restore_misses_is_counted_behind_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report(inodes=20, problems=["/raid/images/objects/a: Input/output error"])
    assert restored(report, TOLD + 5, as_json=False) == ExitCode.DAMAGE
    out, err = capsys.readouterr()
    *lines, problem, rest = err.splitlines()
    assert lines == [f"tierfs: /lost-{number}: its head is missing" for number in range(TOLD)]
    assert problem == "tierfs: /raid/images/objects/a: Input/output error"
    assert rest == "tierfs: and 5 more files; all are listed by: tierfs fsck --json"
    assert f"bytes are missing of {TOLD + 5} files" in out
    assert restored(report, TOLD + 5, as_json=True) == ExitCode.DAMAGE
    found = json.loads(capsys.readouterr().out)
    assert len(found["files"]) == TOLD + 5
    assert found["problems"] == report.problems


BAR = """
import time
from tierfs.cli.progress import progress_bar
from tierfs.cli.waiting import waiting_for
with progress_bar("{task.completed} files") as bar:
    bar.add_task("warming", total=9, done="")
    bar.refresh()
with waiting_for("reading"):
    time.sleep(1.5)
with waiting_for("done at once"):
    pass
"""


def on_a_terminal(*program: str, **environment: str) -> str:
    """What a program, by default the progress of a command, writes on a terminal."""
    written = []

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 4096)
        written.append(data)
        return data

    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    words = [f"{name}={value}" for name, value in environment.items()]
    output = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            program = program or (sys.executable, "-c", BAR)
            assert pty.spawn(["env", "-i", *words, *program], read) == 0
        finally:
            os.dup2(output, 1)
            os.close(output)
    return b"".join(written).decode()


def test_progress_has_no_colours_where_none_are_wanted() -> None:
    plain = on_a_terminal(NO_COLOR="1")
    assert "warming" in plain
    assert "reading" in plain
    assert "at once" not in plain
    assert "\x1b[3" not in plain
    assert "\x1b[38" in on_a_terminal()


MEANWHILE = """
import time, click
from tierfs.cli.progress import progress_bar
from tierfs.cli.waiting import waiting_for
with waiting_for("reading"):
    time.sleep(1.5)
    click.echo("a result")
with progress_bar("") as bar:
    bar.add_task("warming", total=9, done="")
    click.echo("another")
"""


def test_results_go_where_they_were_sent_although_progress_is_shown(tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = ("sh", "-c", 'exec "$0" -c "$1" > "$2"', sys.executable, MEANWHILE, str(results))
    shown = on_a_terminal(*words)
    assert results.read_text() == "a result\nanother\n"
    assert "reading" in shown
    assert "result" not in shown
