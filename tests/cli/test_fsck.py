from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import tierfs
from tierfs.cli.fsck import command, line, summary
from tierfs.cli.main import main
from tierfs.common.errors import ExitCode
from tierfs.fsck import kinds
from tierfs.fsck.check import Finding, Report
from tierfs.storage.layout import object_path

LEFT = (
    "The next mount removes 2 unlinked inodes and trims the objects of 1 files, "
    "which a killed daemon left."
)
LOST = Finding(kinds.MISSING_OBJECT, 17, "its disk object is missing", b"/a/\xff\n")


@pytest.fixture
def volume_file(tmp_path: Path) -> Path:
    """A new volume."""
    for tier in ("flash", "disk"):
        (tmp_path / tier).mkdir()
    path = tmp_path / "images.yaml"
    tiers = ["--flash", f"{tmp_path / 'flash'}", "--disk", f"{tmp_path / 'disk'}"]
    assert main(["init", f"{path}", *tiers]) == 0
    return path


def damage(volume_file: Path) -> Path:
    """Put something into the flash directory that does not belong there."""
    foreign = volume_file.parent / "flash" / "heads" / "notes"
    foreign.parent.mkdir()
    foreign.touch()
    return foreign


def as_json(capsys: pytest.CaptureFixture[str], volume_file: Path) -> dict[str, Any]:
    capsys.readouterr()
    main(["fsck", f"{volume_file}", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert isinstance(told, dict)
    return told


def test_a_clean_volume_has_no_findings(
    volume_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["fsck", f"{volume_file}"]) == ExitCode.OK
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith(": 1 inodes, 0 files, 0 objects")
    assert told[1:] == ["Nothing is wrong."]


def test_a_damaged_volume_is_told_with_advice(
    volume_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = damage(volume_file)
    capsys.readouterr()
    assert main(["fsck", "--thorough", f"{volume_file}"]) == ExitCode.DAMAGE
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"leak, foreign: {foreign}: is not an object of tierfs"
    assert told[2:4] == [
        f"foreign (1): {kinds.FOREIGN.meaning}.",
        f"  What to do: {kinds.FOREIGN.advice}.",
    ]
    assert told[-1] == "Found: leak 1."


def test_json_of_a_clean_volume(volume_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = as_json(capsys, volume_file)
    assert told.pop("volume")
    assert told == {
        "findings": [],
        "clean": True,
        "complete": True,
        "online": False,
        "explained": 0,
        "inodes": 1,
        "files": 0,
        "objects": 0,
        "verified": 0,
        "awaiting_removal": 0,
        "awaiting_trim": 0,
        "counts": {"loss": 0, "damage": 0, "leak": 0, "note": 0},
        "repaired": {},
    }


def test_json_of_a_damaged_volume(volume_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = damage(volume_file)
    (foreign.parent / "more").touch()
    told = as_json(capsys, volume_file)
    assert told["findings"] == [
        {
            "severity": "leak",
            "kind": "foreign",
            "inode": None,
            "path": f"{path}",
            "what": "is not an object of tierfs",
            "meaning": kinds.FOREIGN.meaning,
            "advice": kinds.FOREIGN.advice,
        }
        for path in (foreign.parent / "more", foreign)
    ]
    assert told["clean"] is False
    assert told["counts"]["leak"] == 2


def test_names_that_are_no_text_are_escaped() -> None:
    assert line(LOST) == r"loss, missing-object: /a/\xff\n (inode 17): its disk object is missing"


def test_what_is_no_inode_has_no_number() -> None:
    assert line(Finding(kinds.SERIAL, 0, "5 is in use")) == "damage, serial: 5 is in use"
    assert line(Finding(kinds.UNNAMED, 5, "no name")) == "damage, unnamed: inode 5: no name"


def test_the_summary_counts_by_severity_and_tells_what_waits() -> None:
    report = Report("U", inodes=1234, awaiting_removal=2, awaiting_trim=1, complete=False)
    for finding in (LOST, LOST, Finding(kinds.LEFTOVER, 3, "")):
        report.add(finding)
    told = summary(report)
    assert [text for text in told if text.startswith("missing-object (2): ")]
    assert told[-4:] == [
        "Volume U: 1,234 inodes, 0 files, 0 objects",
        LEFT,
        "The check ended early: there may be more.",
        "Found: loss 2, note 1.",
    ]


def test_notes_alone_are_clean() -> None:
    report = Report("U")
    report.add(Finding(kinds.LEFTOVER, 3, ""))
    assert report.clean


def leak(volume_file: Path) -> Path:
    """Put an object of no file into the flash directory."""
    found = volume_file.parent / "flash" / "heads" / object_path(7)
    found.parent.mkdir(parents=True)
    found.touch()
    return found


@pytest.mark.parametrize(("answer", "code"), [("y", ExitCode.OK), ("n", ExitCode.DAMAGE)])
def test_a_repair_asks_first(volume_file: Path, answer: str, code: ExitCode) -> None:
    leaked = leak(volume_file)
    done = CliRunner().invoke(command, ["--repair", f"{volume_file}"], f"{answer}\n", obj=None)
    assert "Repair unowned-object 1? [y/N]" in done.stderr
    assert leaked.exists() == (answer == "n")
    assert ("Repaired: unowned-object 1." in done.stdout) == (answer == "y")
    assert main(["fsck", f"{volume_file}"]) == code


def test_a_repair_with_yes_does_not_ask(
    volume_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leak(volume_file)
    (volume_file.parent / "flash" / "heads" / "notes").touch()
    capsys.readouterr()
    assert main(["fsck", "--repair", "-y", f"{volume_file}"]) == ExitCode.DAMAGE
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("leak, foreign: ")
    assert told[1] == "leak, unowned-object: inode 7: a flash object of 0 bytes"
    assert told[2:5] == ["", "Repaired: unowned-object 1.", "Still there:"]
    assert told[5] == told[0]
    assert told[-1] == "Found: leak 1."


def test_a_repair_as_json(volume_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leak(volume_file)
    capsys.readouterr()
    assert main(["fsck", "--repair", "-y", "--json", f"{volume_file}"]) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert [found["kind"] for found in told["findings"]] == ["unowned-object"]
    assert (told["repaired"], told["clean"]) == ({"unowned-object": 1}, True)


def test_without_repair_nothing_is_changed(volume_file: Path) -> None:
    leaked = leak(volume_file)
    assert main(["fsck", "-n", f"{volume_file}"]) == ExitCode.DAMAGE
    assert leaked.exists()


@pytest.mark.parametrize("words", [["-y"], ["--repair", "--json"], ["--repair", "--thorough"]])
def test_options_that_do_not_go_together(volume_file: Path, words: list[str]) -> None:
    assert main(["fsck", *words, f"{volume_file}"]) == ExitCode.USAGE


def test_wrong_words_and_directories(volume_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsck"]) == ExitCode.USAGE
    assert main(["fsck", f"{volume_file.parent / 'none.yaml'}"]) == ExitCode.USAGE
    (volume_file.parent / "disk" / ".tierfs").unlink()
    capsys.readouterr()
    assert main(["fsck", f"{volume_file}"]) == ExitCode.VOLUME_REFUSED
    assert "is not the disk directory of a tierfs volume" in capsys.readouterr().err


def test_a_mounted_volume_is_refused_and_a_killed_one_is_clean(make_mount: MakeMount) -> None:
    mount = make_mount()
    told = tierfs("fsck", mount.volume_file, statuses=[ExitCode.VOLUME_BUSY])
    assert f"the volume is mounted on {mount.path}: unmount it first" in told
    for number in range(50):
        (mount.path / f"{number}").write_bytes(bytes(number * 3000))
    (mount.path / "7").unlink()
    mount.kill()
    assert_clean(mount.volume_file)
    mount.abort()
    mount.mount()
    mount.unmount()
    assert_clean(mount.volume_file)
    shutil.rmtree(mount.disk / "objects")
    told = tierfs("fsck", mount.volume_file, statuses=[ExitCode.DAMAGE])
    assert "loss, missing-object: /22 (inode " in told
    assert "and 18 more of missing-object: --json lists them\n" in told
    told = tierfs("fsck", "--json", mount.volume_file, statuses=[ExitCode.DAMAGE])
    lost = {each["path"] for each in json.loads(told)["findings"]}
    assert lost == {f"/{number}" for number in range(22, 50)}
