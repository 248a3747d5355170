"""What tierfs tells about a file through xattrs that exist without having been set."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from tests.support.mounting import HEAD, Mount
from tests.support.proc import Argument, as_root, run

READ_ONLY = (
    "tierfs.location",
    "tierfs.mirrored",
    "tierfs.requested",
    "tierfs.inode",
    "tierfs.head",
)


def ask(path: Path, name: str) -> str:
    return os.getxattr(path, name).decode("ascii")


@pytest.mark.parametrize(
    ("size", "location"),
    [(0, "flash"), (1, "flash"), (HEAD, "flash"), (HEAD + 1, "split"), (5 * HEAD, "split")],
)
def test_location_follows_the_size(mounted: Mount, size: int, location: str) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"x" * size)
    assert ask(file, "tierfs.location") == location
    assert ask(file, "tierfs.prefix") == str(HEAD)
    assert ask(file, "tierfs.inode") == str(file.stat().st_ino)


def test_directories_and_other_kinds_answer(mounted: Mount) -> None:
    folder = mounted.path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    for path in (mounted.path, folder, folder / "fifo"):
        assert ask(path, "tierfs.inode") == str(path.stat().st_ino)


def test_the_length_of_heads_is_told_everywhere(mounted: Mount) -> None:
    (mounted.path / "file").write_bytes(b"x")
    for path in (mounted.path, mounted.path / "file"):
        assert ask(path, "tierfs.head") == str(HEAD)


def test_names_are_not_listed(mounted: Mount) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"data")
    os.setxattr(file, "user.real", b"1")
    assert os.listxattr(file) == ["user.real"]


@pytest.mark.parametrize("name", READ_ONLY)
def test_most_cannot_be_set_or_removed(mounted: Mount, name: str) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"data")
    refusals = (errno.EPERM, errno.EOPNOTSUPP, errno.EACCES)
    with pytest.raises(OSError, match="file") as refused:
        os.setxattr(file, name, b"1")
    assert refused.value.errno in refusals
    with pytest.raises(OSError, match="file") as refused:
        os.removexattr(file, name)
    assert refused.value.errno in refusals


def test_unknown_name_has_no_data(mounted: Mount) -> None:
    with pytest.raises(OSError, match="mnt") as missing:
        os.getxattr(mounted.path, "tierfs.nothing")
    assert missing.value.errno == errno.ENODATA


def test_getfattr_and_the_xattr_package_read_them(mounted: Mount) -> None:
    file = mounted.path / "file"
    file.write_bytes(b"x" * 2 * HEAD)
    shown = run(["getfattr", "--only-values", "-n", "tierfs.location", file]).stdout
    assert shown == "split"
    program = "import sys, xattr; print(xattr.getxattr(sys.argv[1], sys.argv[2]).decode())"
    shown = run([sys.executable, "-c", program, file, "tierfs.prefix"]).stdout
    assert shown.strip() == str(HEAD)


@pytest.mark.parametrize(("mode", "answer"), [(0o644, "flash"), (0o600, "Permission denied")])
def test_readers_of_the_file_can_ask(mounted: Mount, mode: int, answer: str) -> None:
    """The kernel's rule for xattrs of no namespace of its own: who may read may ask (xattr(7))."""
    file = mounted.path / "file"
    file.write_bytes(b"data")
    file.chmod(mode)
    assert answer in as_stranger("getfattr", "--only-values", "-n", "tierfs.location", file)


def as_stranger(*argv: Argument) -> str:
    """What a program says that runs without any right of the owner."""
    switch = as_root("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = run([*switch, *argv], statuses=range(256))
    return done.stdout + done.stderr
