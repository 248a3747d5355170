"""A user without privilege, with every trick that there is, gets nothing from a daemon of root."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.guards.logs import ExpectLog
from tests.parity.calls import as_user
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import Argument, run
from tests.support.volumes import LooseVolume, make_tiers, volume_settings
from tierfs.cli.main import main
from tierfs.common.errors import Damage
from tierfs.daemon.control_client import volume_of
from tierfs.daemon.mountpoint import tierfs_at
from tierfs.daemon.runtime import socket_path
from tierfs.fs import trust
from tierfs.fs.namespace import Owner
from tierfs.fs.volume import format_volume
from tierfs.metadata.inodes import ROOT
from tierfs.storage.markers import MARKER

EVE = 11004
OWNER = Owner(EVE, EVE, 0)
DATA = b"0123456789abcdef" * 16 * 1024
SECRET = b"root's secret"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user")


def eve(function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
    """What the user gets: a result, or the errno's name."""
    return as_user(EVE, EVE, (), function, *args)


def lock(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def connect(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(os.fspath(path))
        asking.sendall(b'{"verb": "status"}\n')
        return asking.recv(100)


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def test_what_lies_below_a_mount_is_closed(mounted: Mount) -> None:
    """Nothing to read, to lock, to connect to, or to put a file beside."""
    path = mounted.path / "private"
    path.write_bytes(DATA)
    path.chmod(0o600)
    ino = path.stat().st_ino
    below = [mounted.flash, mounted.disk]
    closed = [
        *(tier / MARKER for tier in below),
        *(mounted.flash / f"index.db{suffix}" for suffix in ("", "-wal")),
        mounted.flash_object(ino),
        mounted.disk_object(ino),
        mounted.log.path,
    ]
    for file in closed:
        assert file.exists(), file
        assert eve(file.read_bytes) == "EACCES", file
        assert eve(lock, file) == "EACCES", file
    for tier in below:
        assert eve(write, tier / "index.db-journal", b"") == "EACCES"
        assert eve(os.listdir, next(tier.glob("[ho]*s"))) == "EACCES"
    assert eve(connect, socket_path(volume_of(tierfs_at(mounted.path)))) == "EACCES"
    mounted.remount()


def test_markers_of_an_older_version_are_closed(make_mount: MakeMount) -> None:
    """All could read them, and so hold a lock on them."""
    mount = make_mount.formatted()
    for tier in (mount.flash, mount.disk):
        (tier / MARKER).chmod(0o644)
        assert eve(lock, tier / MARKER) is None
    mount.mount()
    for tier in (mount.flash, mount.disk):
        assert eve(lock, tier / MARKER) == "EACCES"


def link_marker(mount: Mount, secret: Path) -> None:
    (mount.flash / MARKER).unlink()
    (mount.flash / MARKER).symlink_to(secret)


def nest_marker(mount: Mount, _secret: Path) -> None:
    (mount.flash / MARKER).write_bytes(b"[" * 100_000)


def link_log(mount: Mount, secret: Path) -> None:
    os.symlink(secret, mount.flash / "index.db-wal")


def nothing(_mount: Mount, _secret: Path) -> None:
    """The directories are Eve's: that is enough."""


@pytest.mark.parametrize("trick", [nothing, link_marker, nest_marker, link_log])
def test_roots_commands_do_not_work_in_directories_of_a_user(
    make_mount: MakeMount, tmp_path: Path, trick: Callable[[Mount, Path], None]
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    mount = make_mount.formatted()
    for path in (mount.flash, mount.disk):
        os.chown(path, EVE, EVE)
    for file in mount.flash.iterdir():
        os.chown(file, EVE, EVE)
    mount.flash.parent.chmod(0o755)
    eve(trick, mount, secret)
    commands: list[list[Argument]] = [
        ["mount", mount.volume_file, mount.path],
        ["fsck", mount.volume_file],
    ]
    for command in commands:
        said = tierfs(*command, statuses=(3,))
        assert "belongs to user" in said
        assert "Traceback" not in said
    assert secret.read_bytes() == SECRET


def test_where_it_is_allowed_links_lead_nowhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    """Her directories, an index of root's: she can spoil the volume, and reaches nothing else."""
    expect_log("flash object")
    sysctl = home / "protected_hardlinks"
    sysctl.write_text("1\n")
    monkeypatch.setattr(trust, "PROTECTED_HARDLINKS", sysctl)
    secret = home / "secret"
    secret.write_bytes(SECRET)
    chosen = volume_settings(home / "volume")
    chosen = replace(chosen, index=home / "index.db", allow_untrusted=True)
    make_tiers(chosen)
    chosen.path.write_text("version: 1\n")
    for tier in (chosen.flash, chosen.disk):
        os.chown(tier, EVE, EVE)
    format_volume(chosen)
    volume = LooseVolume(chosen)
    volume.open()
    try:
        made = volume.fs.names.make(ROOT, b"file", 0o100644, OWNER)
        volume.fs.data.write(made.ino, 0, b"hers")
        volume.close()
        eve(replace_heads, chosen.flash, volume.flash_object(made.ino), secret)
        assert volume.flash_object(made.ino).read_bytes() == SECRET
        volume.open()
        for act in (
            lambda: volume.fs.reads.read(made.ino, 0, 100),
            lambda: volume.fs.data.write(made.ino, 0, b"overwritten"),
        ):
            with pytest.raises(Damage, match="symbolic link"):
                act()
    finally:
        volume.close()
    assert secret.read_bytes() == SECRET


def replace_heads(flash: Path, path: Path, secret: Path) -> None:
    """The directory of heads is root's, but its name is in a directory of hers."""
    (flash / "heads").rename(flash / "moved")
    path.parent.mkdir(parents=True)
    path.symlink_to(secret)


def test_names_reach_no_terminal_and_forge_no_log(mounted: Mount) -> None:
    mounted.path.chmod(0o777)
    name = "x\n2030-01-01T00:00:00.000Z CRITICAL forged: \x1b]0;owned\x07"
    eve(write, mounted.path / name, DATA)
    ino = (mounted.path / name).stat().st_ino
    mounted.log.allow(rf"inode {ino}\b")
    mounted.remount()
    mounted.flash_object(ino).unlink()
    with pytest.raises(OSError, match="Input/output error") as caught:
        (mounted.path / name).read_bytes()
    assert caught.value.errno == errno.EIO
    records = [line for line in mounted.log.text().splitlines() if f"inode {ino}" in line]
    assert records
    for record in records:
        assert r"/x\n2030-01-01T00:00:00.000Z CRITICAL forged: \x1b]0;owned\x07" in record
    commands: list[list[Argument]] = [
        ["where", "-r", mounted.path],
        ["policy", "explain", mounted.path / name],
    ]
    for arguments in commands:
        done = run([sys.executable, "-m", "tierfs", *arguments], statuses=(0, 1, 2, 6))
        assert "\x1b" not in done.stdout + done.stderr
    shown = tierfs("where", "--json", mounted.path / name)
    assert "\x1b" not in shown
    assert json.loads(shown)[0]["path"].endswith("\x07")


def test_arguments_are_shown_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = tmp_path / "a\x1b[2J\n\udcff"
    for arguments in (
        ["mount", hostile, tmp_path],
        ["umount", hostile],
        ["status", hostile],
        ["fsck", hostile],
        ["where", hostile],
        ["pin", hostile],
        ["warm", hostile],
        ["policy", "check", hostile],
        ["policy", "explain", hostile],
        ["policy", "replay", hostile],
        ["init", hostile, "--flash", hostile, "--disk", hostile],
        ["nonsense\x1b[2J"],
        ["mount", "-o", "\x1b[2J", hostile, tmp_path],
        ["status", "--nonsense\x1b[2J"],
    ):
        assert main([str(word) for word in arguments]), arguments
        said = "".join(capsys.readouterr())
        assert said.strip(), arguments
        assert all(line.isprintable() for line in said.split("\n")), (arguments, said)
        assert "mistake in tierfs" not in said, (arguments, said)
        assert "Traceback" not in said, (arguments, said)
