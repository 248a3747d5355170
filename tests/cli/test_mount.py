"""`tierfs mount`, for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, wait_until

ODD = "a, b\\c \N{SNOWMAN}\n.yaml"


@pytest.fixture
def volume(make_mount: MakeMount) -> Mount:
    return make_mount.formatted()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["{volume}", "{mnt}", "-o", "allow_ohter"], 2, "did you mean 'allow_other'?"),
        (["{home}/none.yaml", "{mnt}"], 2, "none.yaml: cannot be read"),
        (["{volume}", "{home}/none"], 5, "does not exist; make it: mkdir"),
        (["{volume}", "{volume}"], 5, "is not a directory"),
        (["{volume}", "{home}"], 5, "which tierfs itself uses"),
        (["{volume}", "{mnt}", "--timeout", "0.1"], 5, "did not answer within 0.1 s"),
    ],
)
def test_what_goes_wrong_is_told(
    volume: Mount, arguments: list[str], status: int, message: str
) -> None:
    names = {"volume": volume.volume_file, "mnt": volume.path, "home": volume.path.parent}
    said = tierfs("mount", *(word.format(**names) for word in arguments), statuses=[status])
    assert message in said
    assert "Traceback" not in said
    assert not volume.is_mounted()


def test_a_typo_in_the_volume_file(volume: Mount) -> None:
    volume.configure("haed", "64KiB")
    line = len(volume.volume_file.read_text().splitlines())
    said = tierfs("mount", volume.volume_file, volume.path, statuses=[2])
    assert said.startswith(f"{volume.volume_file}:{line}:1: ")
    assert "head" in said.partition("haed")[2]


def test_directories_of_no_volume(volume: Mount) -> None:
    elsewhere = volume.path.parent / "elsewhere"
    elsewhere.mkdir()
    volume.configure("disk", str(elsewhere))
    assert str(elsewhere) in tierfs("mount", volume.volume_file, volume.path, statuses=[3])


def test_any_name_will_do(volume: Mount) -> None:
    volume.volume_file = volume.volume_file.rename(volume.volume_file.with_name(ODD))
    volume.mount("noatime", "dirsync")
    assert volume.status()["volume"] == str(volume.volume_file)
    shown = run(["findmnt", "--json", "-o", "SOURCE", "-M", volume.path]).stdout
    assert "\\\\c " in shown


def test_links_lead_to_the_mountpoint(volume: Mount) -> None:
    link = volume.path.parent / "link"
    link.symlink_to(volume.path)
    tierfs("mount", volume.volume_file, link)
    assert volume.status()["mountpoint"] == str(volume.path)
    tierfs("umount", link)
    assert not volume.is_mounted()


def test_the_daemon_stands_apart(volume: Mount) -> None:
    volume.mount()
    process = Path(f"/proc/{volume.status()['pid']}")
    assert os.getsid(volume.pid) == volume.pid
    assert (process / "cwd").readlink() == Path("/")
    streams = [os.fspath((process / "fd" / str(number)).readlink()) for number in range(3)]
    assert streams == ["/dev/null", str(volume.log.path), str(volume.log.path)]
    assert "Umask:\t0022\n" in (process / "status").read_text()


def test_the_foreground_ends_with_ctrl_c(volume: Mount) -> None:
    paths = [str(volume.volume_file), str(volume.path)]
    command = [sys.executable, "-m", "tierfs", "mount", "-f", *paths]
    with subprocess.Popen(command) as process:
        try:
            wait_until(volume.is_mounted, what="the mount appears")
            (volume.path / "file").write_bytes(b"data")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert not volume.is_mounted()


def test_lazily_unmounted_while_in_use(volume: Mount) -> None:
    volume.mount()
    with (volume.path / "file").open("wb", buffering=0) as file:
        tierfs("umount", "--lazy", volume.path)
        assert not volume.is_mounted()
        file.write(b"still here")
    volume.wait_for_daemon()
    volume.mount()
    assert (volume.path / "file").read_bytes() == b"still here"


def test_what_may_not_be_meant_is_warned_of(volume: Mount) -> None:
    (volume.path / "below").touch()
    said = tierfs("mount", volume.volume_file, volume.path)
    assert f"warning: {volume.path} is not empty" in said
    assert f"warning: {volume.flash} and {volume.disk} are on one filesystem" in said
    assert volume.is_mounted()


def test_a_dead_mount_is_no_cause_for_a_warning(volume: Mount) -> None:
    (volume.path / "below").touch()
    volume.mount()
    volume.kill()
    assert "is not empty" not in tierfs("mount", volume.volume_file, volume.path)
