"""Writes of a megabyte, whose bytes go from the kernel to an object without a stay in between."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

import pytest

from tests.support.filesystems import memory_filesystem
from tests.support.fixtures import MakeMount
from tests.support.loop_devices import Kind, loop_filesystem, shut_down
from tests.support.mounting import HEAD, Mount

MIB: Final = 1 << 20


def write_at(path: Path, pieces: list[tuple[int, bytes]]) -> None:
    """Each piece at its offset, one call each."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    for offset, data in pieces:
        assert os.pwrite(descriptor, data, offset) == len(data)
    os.close(descriptor)


def write_on(file: FileIO, written: bytearray) -> None:
    """Until it fails, a megabyte a call; ``written`` gets what was."""
    while True:
        data = os.urandom(MIB)
        written += data[: file.write(data)]


def expected_of(pieces: list[tuple[int, bytes]]) -> bytes:
    """What the file holds then."""
    whole = bytearray(max(offset + len(data) for offset, data in pieces))
    for offset, data in pieces:
        whole[offset : offset + len(data)] = data
    return bytes(whole)


def assert_content(mount: Mount, contents: dict[str, bytes]) -> None:
    """By the kernel's pages, and by the objects."""
    for name, data in contents.items():
        assert (mount.path / name).read_bytes() == data, name
    mount.remount()
    for name, data in contents.items():
        assert (mount.path / name).read_bytes() == data, name


@pytest.mark.parametrize("head", [HEAD, 3 * MIB])
def test_writes_on_both_sides_of_the_prefix(make_mount: MakeMount, head: int) -> None:
    mount = make_mount(head=head)
    chance = random.Random(head)
    pieces = [(at * MIB, chance.randbytes(MIB)) for at in range(6)]
    pieces += [(head + by, chance.randbytes(MIB)) for by in (-MIB, 1 - MIB, -4096, -1, 0, 1, 4096)]
    pieces += [(head - MIB // 2, chance.randbytes(MIB)) for _ in range(3)]
    pieces += [(20 * MIB, chance.randbytes(MIB)), (9 * MIB + 17, chance.randbytes(MIB))]
    pieces = [piece for piece in pieces if piece[0] >= 0]
    write_at(mount.path / "file", pieces)
    assert_content(mount, {"file": expected_of(pieces)})


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("head", [HEAD, 3 * MIB])
def test_writes_to_devices(make_mount: MakeMount, scratch: Path, kind: Kind, head: int) -> None:
    with loop_filesystem(scratch / "device", kind) as device:
        mount = make_mount(flash=device / "flash", disk=device / "disk", head=head)
        pieces = [(at * MIB - at % 3, os.urandom(MIB)) for at in range(12)]
        write_at(mount.path / "file", pieces)
        descriptor = os.open(mount.path / "file", os.O_WRONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        assert_content(mount, {"file": expected_of(pieces)})
        mount.unmount()


@pytest.fixture
def full(scratch: Path, make_mount: MakeMount) -> Iterator[Mount]:
    """A flash of 16 MiB, with the index elsewhere, and a disk of 32."""
    with (
        memory_filesystem(scratch / "small-flash", 16) as flash,
        memory_filesystem(scratch / "small-disk", 32) as disk,
    ):
        yield make_mount(flash=flash, disk=disk, index=scratch / "index.db", head=3 * MIB)


def test_a_flash_that_fills_up_in_the_middle_of_a_write(full: Mount) -> None:
    """Its part of the file goes to disk, and the write is made there."""
    for spare in (MIB // 2 + 4096, 2 * MIB + 12288, 4096):
        ballast = full.flash / "ballast"
        descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        room = os.fstatvfs(descriptor)
        os.posix_fallocate(descriptor, 0, room.f_bavail * room.f_frsize - spare)
        os.close(descriptor)
        pieces = [(at * MIB, os.urandom(MIB)) for at in range(5)]
        write_at(full.path / f"file-{spare}", pieces)
        ballast.unlink()
        assert_content(full, {f"file-{spare}": expected_of(pieces)})
        (full.path / f"file-{spare}").unlink()


def test_a_disk_that_fills_up_in_the_middle_of_a_write(full: Mount) -> None:
    full.log.allow("No space left on device")
    before = os.urandom(5 * MIB)
    (full.path / "before").write_bytes(before)
    written, descriptor = bytearray(), os.open(full.path / "huge", os.O_WRONLY | os.O_CREAT)
    with os.fdopen(descriptor, "wb", buffering=0) as huge:
        huge.seek(100)
        with pytest.raises(OSError, match="No space left") as failed:
            write_on(huge, written)
        assert failed.value.errno == errno.ENOSPC
        assert len(written) > 20 * MIB
        small = os.urandom(5000)
        assert os.pwrite(descriptor, small, 50) == len(small)  # in place
    expected = bytearray(100) + written
    expected[50:5050] = small
    assert_content(full, {"before": before, "huge": bytes(expected)})


def test_a_flash_that_fails_in_the_middle_of_a_file(make_mount: MakeMount, scratch: Path) -> None:
    with loop_filesystem(scratch / "device", "xfs") as device:
        mount = make_mount(flash=device, index=scratch / "index.db", head=16 * MIB)
        descriptor = os.open(mount.path / "file", os.O_RDWR | os.O_CREAT)
        for number in range(4):
            assert os.pwrite(descriptor, os.urandom(MIB), number * MIB) == MIB
        shut_down(device)
        mount.log.allow("nput/output error")
        for number in (4, 2):
            with pytest.raises(OSError, match="Input/output error") as failed:
                os.pwrite(descriptor, os.urandom(MIB), number * MIB)
            assert failed.value.errno == errno.EIO
        os.close(descriptor)
        mount.log.allow("could not be")
        mount.kill()
        mount.log.forget()


def test_what_was_written_survives_a_kill(make_mount: MakeMount) -> None:
    mount = make_mount()
    pieces = [(at * MIB + 5, os.urandom(MIB)) for at in range(8)]
    write_at(mount.path / "file", pieces)
    mount.kill()
    mount.mount()
    assert (mount.path / "file").read_bytes() == expected_of(pieces)


def test_large_writes_beside_small_ones(mounted: Mount) -> None:
    """Of many threads, each with a file of its own, and some with one that all have."""
    failures: list[BaseException] = []
    shared = os.open(mounted.path / "shared", os.O_RDWR | os.O_CREAT)
    contents: dict[str, bytes] = {}
    threads, size = 6, 4 * MIB

    def work(number: int) -> None:
        chance = random.Random(number)
        whole = bytearray(size)
        name = f"file-{number}"
        try:
            own = os.open(mounted.path / name, os.O_RDWR | os.O_CREAT)
            os.ftruncate(own, size)
            for _ in range(60):
                length = chance.choice((1, 4096, 70_000, 200_000, MIB))
                at = chance.randrange(size - length + 1)
                data = chance.randbytes(length)
                assert os.pwrite(own, data, at) == length
                whole[at : at + length] = data
                if length > 4096:
                    assert os.pwrite(shared, data, number * MIB) == length
                assert os.fstat(own).st_size == size
            last = chance.randbytes(MIB)
            assert os.pwrite(shared, last, number * MIB) == MIB
            os.close(own)
            contents[name] = bytes(whole)
            contents[f"shared-{number}"] = last
        except BaseException as exc:  # noqa: BLE001 - told by the test
            failures.append(exc)

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    os.close(shared)
    assert not failures
    parts = [contents.pop(f"shared-{number}") for number in range(threads)]
    contents["shared"] = b"".join(parts)
    assert_content(mounted, contents)
