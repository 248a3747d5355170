"""The mounted drive: it does what the backing directory does, and counts what a head would do."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.drive import PROGRAM, Drive, mounted_disk, started
from tests.support.fixtures import directory
from tests.support.mounting import mounts_at, tierfs
from tests.support.proc import run

pytestmark = pytest.mark.alone

KIB, MIB = 1024, 1024 * 1024
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with directory(tmp_path_factory.mktemp("disk")) as home, mounted_disk(home) as drive:
        yield drive


@pytest.fixture
def drive(shared: Drive) -> Drive:
    """One drive for all tests, each of which finds it empty."""
    subprocess.run(["find", shared.path, "-mindepth", "1", "-delete"], check=True)
    shared.forget()
    return shared


def forget_pages(*paths: Path) -> None:
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def both(drive: Drive, name: str) -> tuple[os.stat_result, os.stat_result]:
    return (drive.path / name).lstat(), (drive.backing / name).lstat()


def test_bytes_and_attributes_are_those_of_the_backing_file(drive: Drive) -> None:
    path = drive.path / "file"
    path.write_bytes(b"x" * 70_000)
    path.chmod(0o640)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    seen, backing = both(drive, "file")
    for name in ("ino", "mode", "nlink", "uid", "gid", "size", "blocks"):
        assert getattr(seen, f"st_{name}") == getattr(backing, f"st_{name}"), name
    assert (seen.st_atime_ns, seen.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    assert stat.S_IMODE(backing.st_mode) == 0o640
    assert (drive.backing / "file").read_bytes() == path.read_bytes()


def test_owners_are_kept(drive: Drive) -> None:
    path = drive.path / "file"
    path.touch()
    os.chown(path, 1234, 5678)
    assert [(s.st_uid, s.st_gid) for s in both(drive, "file")] == [(1234, 5678)] * 2


def test_names_come_and_go(drive: Drive) -> None:
    (drive.path / "a").mkdir()
    (drive.path / "a/one").write_text("1")
    (drive.path / "a/two").write_text("2")
    os.rename(drive.path / "a/one", drive.path / "a/two")
    os.rename(drive.path / "a", drive.path / "b")
    os.link(drive.path / "b/two", drive.path / "three")
    os.symlink("three", drive.path / "four")
    assert (drive.path / "four").read_text() == "1"
    assert os.readlink(drive.path / "four") == "three"
    assert (drive.path / "three").stat().st_nlink == 2
    assert sorted(os.listdir(drive.path)) == ["b", "four", "three"]
    os.unlink(drive.path / "b/two")
    os.rmdir(drive.path / "b")
    with pytest.raises(FileNotFoundError):
        (drive.path / "b").stat()
    with pytest.raises(FileExistsError):
        (drive.path / "three").touch(exist_ok=False)


def test_many_names_are_listed_once_each(drive: Drive) -> None:
    names = [f"file-{number:04}" for number in range(1_500)]
    for name in names:
        (drive.path / name).touch()
    assert sorted(os.listdir(drive.path)) == names


def test_extended_attributes_are_those_of_the_backing_file(drive: Drive) -> None:
    path = drive.path / "file"
    path.touch()
    os.setxattr(path, "user.colour", b"red")
    assert os.getxattr(drive.backing / "file", "user.colour") == b"red"
    assert os.listxattr(path) == ["user.colour"]
    os.removexattr(path, "user.colour")
    with pytest.raises(OSError, match="No data") as caught:
        os.getxattr(path, "user.colour")
    assert caught.value.errno == errno.ENODATA


def test_the_counters_are_not_among_the_attributes_that_a_copy_takes_along(drive: Drive) -> None:
    assert "user.disk.counters" not in os.listxattr(drive.path)


def test_a_sparse_file_stays_sparse(drive: Drive) -> None:
    path = drive.path / "sparse"
    with path.open("wb") as file:
        os.pwrite(file.fileno(), b"tail", 64 * MIB)
        os.fdatasync(file.fileno())
    seen, backing = both(drive, "sparse")
    assert seen.st_size == 64 * MIB + 4
    assert seen.st_blocks == backing.st_blocks <= 16
    os.truncate(path, 10)
    assert path.read_bytes() == bytes(10)
    assert (drive.backing / "sparse").stat().st_size == 10


def test_appending_writes_where_the_file_ends(drive: Drive) -> None:
    path = drive.path / "log"
    for word in (b"one ", b"two ", b"three"):
        with path.open("ab") as file:
            file.write(word)
    assert (drive.backing / "log").read_bytes() == b"one two three"


def test_a_file_without_a_name_can_be_used_on(drive: Drive) -> None:
    with (drive.path / "file").open("w+b") as file:
        os.unlink(drive.path / "file")
        file.write(b"still there")
        file.flush()
        os.ftruncate(file.fileno(), 5)
        os.fsync(file.fileno())
        assert os.pread(file.fileno(), 100, 0) == b"still"
        assert os.fstat(file.fileno()).st_nlink == 0


def test_the_room_is_that_of_the_backing_directory(drive: Drive) -> None:
    seen, backing = os.statvfs(drive.path), os.statvfs(drive.backing)
    assert (seen.f_frsize, seen.f_blocks) == (backing.f_frsize, backing.f_blocks)


def test_a_lock_keeps_others_out(drive: Drive) -> None:
    path = drive.path / "marker"
    path.touch()
    with path.open("rb") as mine, path.open("rb") as other:
        fcntl.flock(mine, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_directories_can_be_synced(drive: Drive) -> None:
    fd = os.open(drive.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def test_a_file_that_is_read_from_its_beginning_costs_one_seek(drive: Drive) -> None:
    near, far = drive.path / "near", drive.path / "far"
    near.write_bytes(os.urandom(8 * MIB))
    far.write_bytes(os.urandom(8 * MIB))
    forget_pages(near, far)
    drive.forget()
    assert far.read_bytes() == (drive.backing / "far").read_bytes()
    seen = drive.counters()
    assert seen["reads"] >= 8  # the kernel reads ahead by far less than 8 MiB
    assert seen["read_bytes"] == 8 * MIB
    assert seen["reads"] - seen["sequential"] == 1
    assert seen["seek_s"] > 0


def test_random_files_cost_a_seek_each_and_the_page_cache_none(drive: Drive) -> None:
    paths = [drive.path / f"{number}" for number in range(60)]
    for path in paths:
        path.write_bytes(os.urandom(200 * KIB))
    chosen = paths[50:0:-10]
    forget_pages(*paths)
    drive.forget()
    for _ in range(2):
        for path in chosen:
            with path.open("rb", buffering=0) as file:
                file.read(KIB)
    seen = drive.counters()
    assert seen["reads"] == seen["reads"] - seen["sequential"] == len(chosen)


def test_a_hole_needs_no_access(drive: Drive) -> None:
    path = drive.path / "hole"
    path.touch()
    os.truncate(path, MIB)
    assert path.read_bytes() == bytes(MIB)
    assert drive.counters()["reads"] == 0


def test_a_volume_has_its_disk_directory_there(drive: Drive) -> None:
    home = drive.backing.parent / "volume"
    (home / "flash").mkdir(parents=True)
    mountpoint = home / "mnt"
    mountpoint.mkdir()
    content = os.urandom(300 * KIB)
    volume = home / "volume.yaml"
    tierfs("init", volume, "--flash", home / "flash", "--disk", drive.path)
    tierfs("mount", volume, mountpoint)
    try:
        (mountpoint / "file").write_bytes(content)
        forget_pages(mountpoint / "file", *drive.path.glob("objects/*/*/*"))
        drive.forget()
        assert (mountpoint / "file").read_bytes() == content
        assert drive.counters()["read_bytes"] == 236 * KIB  # what is behind the head
    finally:
        tierfs("umount", mountpoint)


def test_files_that_were_there_before_are_on_the_drive(tmp_path: Path) -> None:
    with directory(tmp_path) as home:
        (home / "backing/sub").mkdir(parents=True)
        (home / "backing/sub/old").write_bytes(bytes(range(256)) * 256)
        with mounted_disk(home) as drive:
            assert (drive.path / "sub/old").read_bytes() == bytes(range(256)) * 256
            assert drive.counters()["read_bytes"] == 64 * KIB


def test_a_read_takes_as_long_as_the_drive(tmp_path: Path) -> None:
    """A turn of two seconds: what the machine does meanwhile does not matter."""
    slow = ("--rpm", "30", "--settle", "2000", "--seek", "2000", "--full-seek", "2000")
    with directory(tmp_path) as home:
        (home / "backing").mkdir()
        for name in ("first", "second"):
            (home / "backing" / name).write_bytes(bytes(64 * KIB))
        with mounted_disk(home, *slow, "--read-ahead", "0", "--rate", "64KiB") as drive:
            began = os.times().elapsed
            (drive.path / "second").read_bytes()
            took = os.times().elapsed - began
            seen = drive.counters()
    assert took >= seen["seek_s"] + seen["rotation_s"] + seen["transfer_s"] - 0.05


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unmounts_even_while_it_is_in_use(tmp_path: Path, number: int) -> None:
    with directory(tmp_path) as home, started(drive := Drive(home)) as process:
        file = os.open(drive.path / "file", os.O_WRONLY | os.O_CREAT)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert not mounts_at(drive.path)
        with pytest.raises(OSError, match=r"not connected|abort"):
            os.close(file)


def test_a_mountpoint_in_the_backing_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    said = run([*PROGRAM, tmp_path, tmp_path / "inside"], statuses=[5])
    assert "lies in" in said.stderr
