from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from tierfs.cli import mount_helper
from tierfs.cli.main import main as tierfs
from tierfs.cli.mount_helper import MountExit, main, parse
from tierfs.common.errors import MountFailed, UsageError
from tierfs.daemon.startup import MountRequest


def test_the_command_line_of_mount() -> None:
    call = parse(["/v.yaml", "/m", "-n", "-v", "-o", "rw,noatime", "-t", "tierfs"])
    assert call.request == MountRequest(Path("/v.yaml"), Path("/m"), ("rw,noatime",))
    assert (call.options.noatime, call.fake, call.verbose) == (True, False, True)


def test_sloppy_options_are_dropped() -> None:
    call = parse(["/v.yaml", "/m", "-s", "-o", "rw,whatever,noatime"])
    assert call.request.options == ("rw", "noatime")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: mount.tierfs"),
        (["/v.yaml"], "usage: mount.tierfs"),
        (["/v.yaml", "/m", "/n"], "usage: mount.tierfs"),
        (["/v.yaml", "/m", "-x"], "option -x not recognized; usage"),
        (["/v.yaml", "/m", "-N", "/proc/1/ns/mnt"], "-N is not supported"),
        (["/v.yaml", "/m", "-t", "ext4"], "helper of the type tierfs, not ext4"),
        (["/v.yaml", "/m", "-o", "allow_ohter"], "did you mean 'allow_other'"),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=message):
        parse(arguments)
    assert main(arguments) == MountExit.USAGE
    assert capsys.readouterr().err.startswith("mount.tierfs: ")


def test_a_failure_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with patch.object(mount_helper, "start_daemon", side_effect=MountFailed("no such luck")):
        assert main([str(tmp_path / "v.yaml"), str(tmp_path)]) == MountExit.FAILED
    assert capsys.readouterr().err == "mount.tierfs: no such luck\n"


def test_a_verbose_mount_names_its_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch.object(mount_helper, "start_daemon", return_value=77):
        assert main([str(tmp_path / "v.yaml"), str(tmp_path), "-v"]) == MountExit.OK
    assert "process 77" in capsys.readouterr().out


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    for name in ("flash", "disk"):
        (tmp_path / name).mkdir()
    tiers = ["--flash", str(tmp_path / "flash"), "--disk", str(tmp_path / "disk")]
    assert tierfs(["init", str(tmp_path / "v.yaml"), *tiers]) == 0
    return tmp_path / "v.yaml"


@pytest.mark.parametrize("missing", ["v.yaml", "disk"])
def test_nofail_forgives_what_is_not_there(
    volume: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (volume.parent / missing).rename(volume.parent / "elsewhere")
    assert main([str(volume), "/m", "-v", "-o", "nofail"]) == MountExit.OK
    assert f"{volume.parent / missing} is missing" in capsys.readouterr().out


def test_nofail_forgives_no_mistake(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume.write_text("version: 1\nflsh: x\n")
    assert main([str(volume), "/m", "-o", "nofail"]) == MountExit.FAILED
    assert f"{volume}:2:1: " in capsys.readouterr().err


def test_fake_looks_only(volume: Path) -> None:
    assert main([str(volume), "/m", "-f"]) == MountExit.OK
    assert main(["/none.yaml", "/m", "-f"]) == MountExit.FAILED
