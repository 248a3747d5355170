"""``tierfs policy replay``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tierfs.cli.main import main
from tierfs.common.errors import ExitCode

HEAD = 65536


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a log of two files read three times, and two policies."""
    monkeypatch.chdir(tmp_path)
    facts = [
        f"file {ino} size={HEAD} mtime=1.0 uid=0 gid=0 head=0 path=/{'ab'[ino - 1]}/x"
        for ino in (1, 2)
    ]
    uses = [f"{second} {ino} {HEAD}" for second in (1000, 1010, 1020) for ino in (1, 2)]
    Path("access.log").write_text("\n".join(["log 1 head=65536 flash=10485760", *facts, *uses]))
    Path("all.yaml").write_text("version: 1\n")
    Path("half.yaml").write_text(
        'version: 1\nrules: [{name: b, match: {path: "/b/**"}, head: none}]\n'
    )
    return tmp_path


def replay(*arguments: str) -> int:
    return main(["policy", "replay", "access.log", "--policy", "half.yaml", *arguments])


TABLE = """\
6 reads in 20s, 10MiB of flash

                  half.yaml  all.yaml  difference
hits, % of reads       33.3      66.7       -33.3
hits, % of bytes       33.3      66.7       -33.3
flash used, peak      64KiB    128KiB      -64KiB
flash used, end       64KiB    128KiB      -64KiB
moved to flash        64KiB    128KiB      -64KiB
moved to disk            0B        0B          0B
evicted                  0B        0B          0B
"""


@pytest.mark.usefixtures("home")
def test_two_policies_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("--against", "all.yaml") == 0
    assert capsys.readouterr().out == TABLE


@pytest.mark.usefixtures("home")
def test_json_has_bytes_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("--against", "all.yaml", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["log"] == {"files": ["access.log"], "uses": 6, "seconds": 20, "damaged_lines": 0}
    assert told["flash"] == 10 * 1024 * 1024
    assert [one["policy"] for one in told["policies"]] == ["half.yaml", "all.yaml"]
    assert [one["hits"] for one in told["policies"]] == [2, 4]
    assert told["difference"]["bytes_hit"] == -2 * HEAD
    assert told["difference"]["hit_rate"] == pytest.approx(-1 / 3)


@pytest.mark.usefixtures("home")
def test_one_policy_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("--flash", "1GiB") == 0
    out = capsys.readouterr().out
    assert "1GiB of flash" in out
    assert "difference" not in out
    assert replay("--json") == 0
    assert "difference" not in json.loads(capsys.readouterr().out)


def test_a_volume_file_tells_the_policy_in_force_and_the_flash(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "flash").mkdir()
    text = "version: 1\nflash: flash\ndisk: disk\nhead: 32KiB\npolicy: all.yaml\n"
    Path("volume.yaml").write_text(text)
    assert replay("--volume", "volume.yaml", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [Path(one["policy"]).name for one in told["policies"]] == ["half.yaml", "all.yaml"]
    assert told["policies"][1]["used"] == HEAD
    assert told["flash"] > 0
    assert replay("--volume", "volume.yaml", "--flash", "1GiB", "--json") == 0
    assert json.loads(capsys.readouterr().out)["flash"] == 2**30


@pytest.mark.usefixtures("home")
def test_damaged_lines_are_told_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with Path("access.log").open("a") as log:
        log.write("\n1030 1" + 30 * "\n?")
    assert replay("--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["policies"][0]["reads"] == 6
    assert json.loads(out)["log"]["damaged_lines"] == 31
    said = err.splitlines()
    assert said[0].startswith('access.log:10:1: "1030 1" is not an access; ')
    assert said[0].endswith("; the line is skipped")
    assert said[-1] == "and 21 more lines that are damaged"


WRONG = {
    "nowhere cannot be read: No such file": ["nowhere", "--policy=all.yaml", "--flash=1GiB"],
    "name --flash SIZE or --volume": ["plain.log", "--policy=all.yaml"],
    "empty.log has no access": ["empty.log", "--policy=all.yaml", "--flash=1GiB"],
    "newer.log:1:1: the log is of version 2": ["newer.log", "--policy=all.yaml"],
    'bad.yaml:1:1: unknown key "verson"': ["access.log", "--policy=bad.yaml"],
    "is not a size": ["access.log", "--policy=all.yaml", "--flash=much"],
}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("message", WRONG)
def test_what_makes_no_sense_is_refused(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("plain.log").write_text("1 1 1\n")
    Path("empty.log").write_text("# nothing\n")
    Path("newer.log").write_text("log 2\n")
    Path("bad.yaml").write_text("verson: 1\n")
    assert main(["policy", "replay", *WRONG[message]]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
