"""No link is followed and nothing is waited for, with openat2(2) and without."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tierfs.common import beneath
from tierfs.common.beneath import (
    DIRECTORY,
    NotAFile,
    make_private,
    mkdir_beneath,
    open_beneath,
    open_file,
    parent_beneath,
    stat_beneath,
)


@pytest.fixture(params=["openat2", "walk"], autouse=True)
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that has openat2, and one that has not."""
    if request.param == "walk":
        monkeypatch.setattr(beneath, "_how", lambda _flags, _mode: None)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[int]:
    """A directory with a/b/file; beside it a secret, and links to both."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"outside")
    inside = tmp_path / "inside"
    (inside / "a/b").mkdir(parents=True)
    (inside / "a/b/file").write_bytes(b"inside")
    (inside / "a/b/link").symlink_to(tmp_path / "secret")
    (inside / "a/b/near").symlink_to("file")
    (inside / "a/b/dangling").symlink_to(tmp_path / "made")
    (inside / "a/c").symlink_to(tmp_path / "outside")
    (inside / "a/d").symlink_to("b")
    os.mkfifo(inside / "a/b/fifo")
    descriptor = os.open(inside, DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_a_file_is_opened(home: int) -> None:
    descriptor = open_file("a/b/file", os.O_RDONLY, dir_fd=home)
    assert os.read(descriptor, 100) == b"inside"
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR])
@pytest.mark.parametrize(
    "path",
    [
        "a/b/link",
        "a/b/near",
        "a/b/dangling",
        "a/c/file",
        "a/d/file",
        "a/b/fifo",
        "a/b",
        "a/b/file/x",
    ],
)
@pytest.mark.timeout(10)
def test_nothing_else_is_opened_or_waited_for(
    home: int, tmp_path: Path, path: str, flags: int
) -> None:
    with pytest.raises(NotAFile, match="symbolic link"):
        open_file(path, flags, dir_fd=home)
    assert not (tmp_path / "made").exists()


def test_what_is_missing_is_missing(home: int) -> None:
    with pytest.raises(FileNotFoundError):
        open_file("a/b/none", os.O_RDONLY, dir_fd=home)
    with pytest.raises(FileNotFoundError):
        open_file("a/none/file", os.O_RDONLY, dir_fd=home)


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd"])
def test_no_path_leads_out(home: int, path: str) -> None:
    with pytest.raises(OSError, match="cross-device") as caught:
        open_beneath(path, os.O_RDONLY, dir_fd=home)
    assert caught.value.errno == errno.EXDEV


def test_files_and_directories_are_made(home: int) -> None:
    mkdir_beneath("a/new", 0o700, dir_fd=home)
    os.close(open_file("a/new/file", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=home))
    assert stat.S_IMODE(stat_beneath("a/new/file", dir_fd=home).st_mode) == 0o600


def test_nothing_is_changed_behind_a_link(home: int, tmp_path: Path) -> None:
    for attempt in (
        lambda: mkdir_beneath("a/c/new", 0o700, dir_fd=home),
        lambda: stat_beneath("a/c/file", dir_fd=home),
    ):
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            attempt()
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["file"]


def test_a_link_itself_is_looked_at(home: int) -> None:
    assert stat.S_ISLNK(stat_beneath("a/b/link", dir_fd=home).st_mode)


def test_no_descriptor_is_left(home: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("a/b/file", "a/b/fifo", "a/b/link", "a/c/file", "a/b/none"):
        try:
            os.close(open_file(path, os.O_RDONLY, dir_fd=home))
        except OSError:
            continue
    with parent_beneath("a/b/file", dir_fd=home) as (_, name):
        assert name == "file"
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_holder_of_a_lease_is_waited_for(home: int, tmp_path: Path) -> None:
    """As a server of files below has one; the kernel asks it to let go."""
    holder = os.open(tmp_path / "inside/a/b/file", os.O_RDONLY)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        timer = threading.Timer(0.2, fcntl.fcntl, (holder, fcntl.F_SETLEASE, fcntl.F_UNLCK))
        timer.start()
        os.close(open_file("a/b/file", os.O_WRONLY, dir_fd=home))
        timer.join()
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, before)


def test_a_private_file_stays_ours(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o764)
    with path.open() as file:
        make_private(file.fileno())
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
