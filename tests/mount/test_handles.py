"""File handles: what name_to_handle_at(2) named is found after the kernel has forgotten it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.fixtures import BOTH_WAYS, MakeMount
from tests.support.mounting import Mount
from tests.support.proc import as_root, run

AT_FDCWD: Final = -100
AT_HANDLE_CONNECTABLE: Final = 2
"""Linux 6.13: a handle that says in which directory the file was, as an NFS server may want it."""

MOST_BYTES: Final = 128
NUMBER_AND_GENERATION: Final = 0x81
"""FILEID_INO64_GEN (include/linux/exportfs.h)."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def handle_of(path: Path, flags: int = 0) -> bytes:
    """struct file_handle."""
    found = ctypes.create_string_buffer(struct.pack("II", MOST_BYTES, 0), 8 + MOST_BYTES)
    mount = ctypes.c_int(0)
    failed = _LIBC.name_to_handle_at(
        AT_FDCWD, os.fsencode(path), found, ctypes.byref(mount), ctypes.c_int(flags)
    )
    assert not failed, os.strerror(ctypes.get_errno())
    return found.raw


def handle_to(number: int, generation: int = 0) -> bytes:
    """A handle as fuse_encode_fh() makes it."""
    words = struct.pack("III", number >> 32, number & 0xFFFFFFFF, generation)
    return struct.pack("II", len(words), NUMBER_AND_GENERATION) + words


@contextmanager
def opened(mount: Mount, handle: bytes) -> Iterator[int]:
    """open_by_handle_at(2)."""
    anchor = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = _LIBC.open_by_handle_at(anchor, handle, ctypes.c_int(os.O_RDONLY))
        error = ctypes.get_errno()
    finally:
        os.close(anchor)
    if descriptor < 0:
        raise OSError(error, os.strerror(error))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_stale(mount: Mount, handle: bytes) -> bool:
    with contextlib.suppress(OSError), opened(mount, handle):
        return False
    return ctypes.get_errno() == errno.ESTALE


@pytest.fixture(params=BOTH_WAYS)
def mount(make_mount: MakeMount, request: pytest.FixtureRequest) -> Mount:
    return make_mount(*request.param)


def test_handles_outlive_the_mount(mount: Mount) -> None:
    folder = mount.path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"content")
    to_file, to_folder = handle_of(folder / "file"), handle_of(folder)
    mount.remount(*mount.options)
    with opened(mount, to_folder) as descriptor:
        assert os.listdir(descriptor) == ["file"]
        assert os.readlink(f"/proc/self/fd/{descriptor}") == str(folder), "it was connected"
    mount.remount(*mount.options)
    with opened(mount, to_file) as descriptor:
        assert os.read(descriptor, 100) == b"content"
        assert os.fstat(descriptor).st_nlink == 1


def test_a_handle_follows_its_inode(mount: Mount) -> None:
    one, other = mount.path / "one", mount.path / "other"
    (one / "inner").mkdir(parents=True)
    other.mkdir()
    (one / "file").write_bytes(b"content")
    handles = handle_of(one / "file"), handle_of(one / "inner")
    (one / "file").rename(other / "renamed")
    (one / "inner").rename(other / "moved")
    mount.remount(*mount.options)
    with opened(mount, handles[0]) as descriptor:
        assert os.read(descriptor, 100) == b"content"
    with opened(mount, handles[1]) as descriptor:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == str(other / "moved")


def test_a_handle_that_says_where_the_file_was(mount: Mount) -> None:
    (mount.path / "folder").mkdir()
    file = mount.path / "folder" / "file"
    file.write_bytes(b"content")
    try:
        handle = handle_of(file, AT_HANDLE_CONNECTABLE)
    except AssertionError:
        return  # before Linux 6.13
    mount.remount(*mount.options)
    with opened(mount, handle) as descriptor:
        assert os.readlink(f"/proc/self/fd/{descriptor}") == str(file)


def test_handles_of_nothing_are_stale(mount: Mount) -> None:
    file, folder = mount.path / "file", mount.path / "folder"
    file.write_bytes(b"content")
    folder.mkdir()
    number, handles = file.stat().st_ino, (handle_of(file), handle_of(folder))
    assert not is_stale(mount, handle_to(number))
    assert is_stale(mount, handle_to(number, 1)), (
        "numbers are not used again: all have one generation"
    )
    file.unlink()
    folder.rmdir()
    for handle in (*handles, handle_to(2**62), handle_to(2**63), handle_to(2**64 - 1)):
        assert is_stale(mount, handle)
    with pytest.raises(FileNotFoundError):
        file.stat()


def test_a_file_with_no_name_is_found_while_it_is_open(mount: Mount) -> None:
    file = mount.path / "file"
    file.write_bytes(b"content")
    handle = handle_of(file)
    with file.open("rb"):
        file.unlink()
        with opened(mount, handle) as descriptor:
            assert os.read(descriptor, 100) == b"content"
    assert is_stale(mount, handle)


class Overlay:
    """Both layers on a mount; an overlay finds files of its lower layer by their handles."""

    def __init__(self, mount: Mount, merged: Path, words: str) -> None:
        self.lower, self.merged = mount.path / "lower", merged
        upper, work = mount.path / "upper", mount.path / "work"
        for path in (self.lower, upper, work, merged):
            path.mkdir(exist_ok=True)
        self._layers = f"lowerdir={self.lower},upperdir={upper},workdir={work}{words}"

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        words = ("-t", "overlay", "tierfs-test", "-o", self._layers)
        run(as_root("mount", *words, self.merged), timeout=20)
        try:
            yield self.merged
        finally:
            run(as_root("umount", self.merged), timeout=20)


@pytest.mark.parametrize("words", ["", ",index=on,nfs_export=on"])
def test_an_overlay_after_a_remount(mount: Mount, scratch: Path, words: str) -> None:
    overlay = Overlay(mount, scratch / "merged", words)
    (overlay.lower / "folder").mkdir()
    (overlay.lower / "folder" / "inner").write_text("below ", encoding="utf-8")
    (overlay.lower / "file").write_text("below ", encoding="utf-8")
    (overlay.lower / "link").hardlink_to(overlay.lower / "file")
    changed = [Path("folder", "inner"), Path("file")]
    with overlay.mounted() as merged:
        for path in changed:
            with (merged / path).open("a", encoding="utf-8") as file:
                file.write("above")
    mount.remount(*mount.options)
    with overlay.mounted() as merged:
        for _ in range(3):  # the second look is at what the first found by number
            for path in changed:
                assert (merged / path).read_text(encoding="utf-8") == "below above"
            assert sorted(os.listdir(merged)) == ["file", "folder", "link"]
        if words:
            assert (merged / "link").read_text(encoding="utf-8") == "below above"


def test_a_hard_link_moved_in_an_overlay(mount: Mount, scratch: Path) -> None:
    """The overlay looks at it under the name that was removed until it is mounted again.

    ``ovl_revalidate_real`` asks for the name by which it first saw the inode: the kernel's. What
    lies below is right.
    """
    overlay = Overlay(mount, scratch / "merged", "")
    with overlay.mounted() as merged:
        for name in ("d0", "d1"):
            (merged / name).mkdir()
        (merged / "d1" / "a").write_text("x", encoding="utf-8")
        (merged / "b2").hardlink_to(merged / "d1" / "a")
        (merged / "b2").rename(merged / "d0" / "c")
        (merged / "d1" / "a").unlink()
        found = ["x"]
        try:
            found.append((merged / "d0" / "c").read_text(encoding="utf-8"))
        except OSError as error:
            found = [errno.errorcode[error.errno or 0]]
        assert found in (["ESTALE"], ["x", "x"])
    with overlay.mounted() as merged:
        assert (merged / "d0" / "c").read_text(encoding="utf-8") == "x"
        assert (merged / "d0" / "c").stat().st_nlink == 1
