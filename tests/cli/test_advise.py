"""``tierfs advise``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tierfs.cli import advise as command
from tierfs.cli.main import main
from tierfs.common.errors import ExitCode
from tierfs.common.units import KIB, MIB

POLICY = "version: 1\nhead: 64KiB # as we always had\nflash: {reserve: 0}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a volume file and a log whose readers want heads of 256 KiB."""
    monkeypatch.chdir(tmp_path)
    for name in ("flash", "disk"):
        Path(name).mkdir()
    Path("images.yaml").write_text(
        "version: 1\nflash: flash\ndisk: disk\npolicy: policy.yaml\n"
        "access_log: {file: access.log, size: 64MiB}\n"
    )
    Path("policy.yaml").write_text(POLICY)
    facts = f"size={10 * MIB} mtime=1.0 uid=0 gid=0 head=0"
    lines = [
        f"log 1 head=65536 flash={60 * MIB}",
        *(f"file {ino} {facts} path=/images/{ino}.tif" for ino in range(1, 51)),
        *(f"{second} {1 + second * 7 % 50} {200 * KIB} x4" for second in range(1, 800)),
    ]
    Path("access.log").write_text("\n".join(lines) + "\n")
    return tmp_path


def advise(*arguments: str) -> int:
    return main(["advise", "images.yaml", "--flash", "60MiB", *arguments])


@pytest.mark.usefixtures("home")
def test_a_better_head_is_proposed_as_a_diff(capsys: pytest.CaptureFixture[str]) -> None:
    assert advise() == ExitCode.OK
    shown = capsys.readouterr().out
    assert shown.startswith("3,196 reads in 13.3min, 60MiB of flash\n")
    assert "head: 256KiB: " in shown
    assert "-head: 64KiB # as we always had\n+head: 256KiB # as we always had\n" in shown
    assert Path("policy.yaml").read_text() == POLICY


@pytest.mark.usefixtures("home")
def test_what_is_proposed_can_be_written_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert advise("--output", "better.yaml") == ExitCode.OK
    assert Path("better.yaml").read_text() == POLICY.replace("64KiB", "256KiB")
    assert main(["policy", "check", "better.yaml"]) == ExitCode.OK
    capsys.readouterr()
    Path("policy.yaml").write_text(Path("better.yaml").read_text())
    assert advise() == ExitCode.OK
    shown = capsys.readouterr().out
    assert "the policy suits these accesses" in shown
    assert "waiting for disk" in shown


@pytest.mark.usefixtures("home")
def test_nothing_is_written_where_there_is_nothing_to_propose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("policy.yaml").write_text(POLICY.replace("64KiB", "256KiB"))
    assert advise("--output", "better.yaml") == ExitCode.OK
    assert "better.yaml is not written: there is nothing to propose" in capsys.readouterr().out
    assert not Path("better.yaml").exists()


@pytest.mark.usefixtures("home")
def test_json_has_the_figures_that_a_replay_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert advise("--json", "--output", "better.yaml") == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    replay = ["policy", "replay", "access.log", "--policy", "better.yaml"]
    assert main([*replay, "--against", "policy.yaml", "--flash", "60MiB", "--json"]) == ExitCode.OK
    new, old = json.loads(capsys.readouterr().out)["policies"]
    assert told["now"]["hit_rate"] == old["hit_rate"]
    assert told["proposed"]["hit_rate"] == new["hit_rate"] > 0.9
    assert told["proposed"]["waiting_s"] < told["now"]["waiting_s"] / 3
    assert [change["what"] for change in told["changes"]] == ["head: 256KiB"]
    assert told["share_of_files"] == 1


@pytest.mark.usefixtures("home")
def test_without_a_policy_a_new_one_is_proposed(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("images.yaml").read_text().replace("policy: policy.yaml\n", "")
    Path("images.yaml").write_text(text)
    assert advise() == ExitCode.OK
    shown = capsys.readouterr().out
    assert "+head: 256KiB\n" in shown
    assert "add policy: FILE to " in shown


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda: Path("access.log").write_text(""), "has no access yet"),
        (Path("access.log").unlink, "cannot be read: No such file or directory"),
        (
            lambda: Path("images.yaml").write_text("version: 1\nflash: flash\ndisk: disk\n"),
            "images.yaml has no access_log, so no accesses are recorded; add",
        ),
        (Path("policy.yaml").unlink, "policy.yaml: No such file or directory"),
        (lambda: Path("policy.yaml").write_text("version: 1\nhaed: 5\n"), "policy.yaml:2:1: "),
        (lambda: Path("policy.yaml").write_bytes(b"\xff"), "policy.yaml is not UTF-8"),
    ],
)
@pytest.mark.usefixtures("home")
def test_what_is_wrong_is_said_in_a_line(
    spoil: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(spoil)
    spoil()
    assert advise() != ExitCode.OK
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.usefixtures("home")
def test_damaged_lines_are_told_and_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("access.log").open("a") as file:
        file.write("nonsense\n")
    assert advise() == ExitCode.OK
    assert "the line is skipped" in capsys.readouterr().err


# ------------------------------------------------------------------ how far files are read first


def told(extension: str, head: int, **more: object) -> dict[str, Any]:
    """What a mount says of an extension."""
    return {
        "extension": extension,
        "source": "requests",
        "reads": 100.0,
        "far": 200 * KIB,
        "whole": 0.25,
        "head": head,
        "covered": 0.97,
        "covered_now": 0.1,
        "classes": [
            {"size": 512 * KIB, "reads": 60.0, "far": 192 * KIB, "whole": 0.0},
            {"size": 1024 * KIB, "reads": 40.0, "far": 0, "whole": 0.5},
        ],
        "cost": {"files": 10, "size": 10 * MIB, "now": 640 * KIB, "then": 2240 * KIB},
        "proposed": True,
    } | more


@pytest.fixture
def mounted(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The volume of ``home`` as if it was mounted; what is put here was counted."""
    extensions: list[dict[str, Any]] = []

    def ask(mountpoint: Path, verb: str) -> dict[str, Any]:
        assert (mountpoint, verb) == (Path("images.yaml"), "heads")
        return {"extensions": extensions}

    monkeypatch.setattr(command, "ask", ask)
    assert home.exists()
    return extensions


def without_log() -> None:
    Path("images.yaml").write_text("version: 1\nflash: flash\ndisk: disk\npolicy: policy.yaml\n")


def test_heads_are_proposed_without_an_access_log(
    mounted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    without_log()
    mounted += [
        told(".jpg", 224 * KIB),
        told("", 224 * KIB, proposed=False),
        told(".tif", 2 * MIB, source="job", classes=[]),
    ]
    assert advise("--output", "better.yaml") == ExitCode.OK
    shown = capsys.readouterr().out
    first = next(line for line in shown.splitlines() if line.startswith(".jpg"))
    assert first.split() == [
        *(".jpg", "100", "200KiB", "25%"),
        *("10%", "224KiB", "97%", "+1600KiB", "requests"),
    ]
    assert "\n        to 512KiB  60           192KiB   0%\n" in shown
    assert "\n        to 1MiB    40           further  50%\n" in shown
    assert "\nothers " in shown
    assert "\njob: measured by the training client\n" in shown
    assert "\nrequests: upper bound: from requests, read-ahead counted\n" in shown
    assert "\nhead: 224KiB for .jpg\nhead: 2MiB for .tif\n" in shown
    rules = (
        "rules:\n"
        '  - name: head-jpg\n    match: {path: "/**/*.jpg"}\n    head: 224KiB\n'
        '  - name: head-tif\n    match: {path: "/**/*.tif"}\n    head: 2MiB\n'
    )
    assert Path("better.yaml").read_text() == POLICY + rules
    assert main(["policy", "check", "better.yaml"]) == ExitCode.OK


def test_a_head_that_was_proposed_before_is_corrected(
    mounted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    without_log()
    mounted.append(told(".jpg", 224 * KIB))
    advise("--output", "better.yaml")
    Path("policy.yaml").write_text(Path("better.yaml").read_text())
    mounted[0] = told(".jpg", 96 * KIB)
    capsys.readouterr()
    assert advise() == ExitCode.OK
    assert "-    head: 224KiB\n+    head: 96KiB\n" in capsys.readouterr().out


def test_nothing_is_proposed_that_contradicts_the_policy(
    mounted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    without_log()
    rule = '  - {name: mine, match: {path: "/**/*.jpg"}, pin: true}'
    text = f"{POLICY}rules:\n{rule}\n"
    Path("policy.yaml").write_text(text)
    mounted.append(told(".jpg", 224 * KIB))
    assert advise("--output", "better.yaml") == ExitCode.OK
    shown = capsys.readouterr().out
    assert "no head is proposed: the policy suits these reads" in shown
    assert "better.yaml is not written" in shown


def test_a_replay_judges_what_was_counted(
    mounted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has files of one extension that are read 200 KiB far."""
    mounted += [told(".tif", 224 * KIB), told(".jpg", 64 * MIB)]
    assert advise("--json") == ExitCode.OK
    advised = json.loads(capsys.readouterr().out)
    assert advised["first_reads"] == mounted
    assert [(one["kind"], one["what"]) for one in advised["changes"]] == [
        ("rule", "head: 224KiB for .tif")
    ]
    assert advised["proposed"]["waiting_s"] < advised["now"]["waiting_s"] / 3
