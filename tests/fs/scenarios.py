"""A small volume, and every operation that calls the operating system more than once on it.

Each operation says what its file may hold when it was interrupted, so that one list serves the
tests that let calls fail and those that kill the process.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from tests.fs.consistency import content
from tests.support.faulty_os import Point
from tests.support.fixtures import directory
from tests.support.volumes import LooseVolume, make_tiers, volume_settings
from tierfs.common.errors import FsError
from tierfs.common.ranges import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from tierfs.fs.attributes import Changes
from tierfs.fs.namespace import Owner
from tierfs.fs.volume import format_volume
from tierfs.metadata.inodes import ROOT, Inode

HEAD = 4096
ME = Owner(0, 0)
FILE_MODE = stat.S_IFREG | 0o644


def pattern(length: int, seed: int = 0) -> bytes:
    """Bytes none of which is zero, different for each seed at every position."""
    return bytes(1 + (at * 7 + at // 251 + seed * 101) % 255 for at in range(length))


FILES: Mapping[bytes, bytes] = {
    b"empty": b"",
    b"small": pattern(1000, 1),
    b"exact": pattern(HEAD, 2),
    b"large": pattern(10_000, 3),
    b"other": pattern(9_000, 4),
}
"""What is on the volume before; ``other`` is never touched."""


def make(volume: LooseVolume, name: bytes, parent: int = ROOT) -> Inode:
    """Make an empty file that the kernel has forgotten again."""
    inode = volume.fs.names.make(parent, name, FILE_MODE, ME)
    volume.fs.names.forget(inode.ino)
    return inode


def populate(volume: LooseVolume) -> None:
    """Make the files of ``FILES``, and one to be cut."""
    for name, data in {**FILES, b"cut": pattern(9000, 5)}.items():
        volume.fs.data.write(make(volume, name).ino, 0, data)


def is_there(volume: LooseVolume, name: bytes) -> bool:
    """Whether the root has this name."""
    return volume.index.dentries.find(ROOT, name) is not None


def before() -> dict[bytes, bytes]:
    """The content of every file of ``populate``."""
    return {**FILES, b"cut": pattern(500, 5)}


def contents(volume: LooseVolume) -> dict[bytes, bytes]:
    """The content of every file in the root."""
    names = [entry.name for entry in volume.fs.listing.after(ROOT)][2:]
    return {name: content(volume, name) for name in names}


Files = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Operation:
    """Something done to a file; ``after`` gives all files as they are when it succeeded."""

    do: Callable[[LooseVolume], object]
    after: Callable[[Files], Files]
    overwrites: range = range(0)
    """Bytes of ``subject`` that may be old or new, each for itself, when it was interrupted."""
    subject: bytes = b""
    full: Collection[str] = ()
    """Labels of calls that find no room, all the time."""

    def allows(self, old: Files, found: Files) -> bool:
        """Whether the files may be so when the operation was interrupted."""
        new = self.after(old)
        if found in (old, new):
            return True
        others = found.keys() - {self.subject}
        if found.keys() != new.keys() or any(found[name] != old[name] for name in others):
            return False
        return self._is_mixed(old.get(self.subject, b""), new[self.subject], found[self.subject])

    def _is_mixed(self, old: bytes, new: bytes, found: bytes) -> bool:
        """Overwritten as far as it came, and grown as far as it came: as after a short write."""
        if not len(old) <= len(found) <= max(len(old), len(new)):
            return False
        return all(
            (at < len(old) and byte == old[at])
            or ((at in self.overwrites or at >= len(old)) and byte == new[at])
            for at, byte in enumerate(found)
        )


@contextmanager
def template() -> Iterator[LooseVolume]:
    """A populated volume to be copied, not open."""
    with directory(Path(tempfile.gettempdir())) as home:
        volume = LooseVolume(volume_settings(home / "template", HEAD))
        make_tiers(volume.settings)
        format_volume(volume.settings)
        volume.open()
        populate(volume)
        volume.close()
        yield volume


@contextmanager
def prepared(template: LooseVolume, home: Path) -> Iterator[LooseVolume]:
    """A copy of the template, open; the file to be cut is cut, and not yet trimmed."""
    volume = template.copy(home)
    volume.open()
    volume.fs.data.truncate(volume.find(b"cut").ino, 500)
    volume.os.clear()
    try:
        yield volume
    finally:
        volume.abandon()
        shutil.rmtree(home)


def points(template: LooseVolume, home: Path, operation: Operation) -> list[Point]:
    """Every call that the operation makes; asserts that it does what it says."""
    with prepared(template, home / "recorded") as volume:
        volume.os.full = operation.full
        operation.do(volume)
        found = volume.os.points()
        assert contents(volume) == operation.after(before())
    return found


NO_FLASH = ("flash.pwrite",)
NO_BLOCKS = ("flash.fallocate",)
NO_COPY = ("flash.copy_file_range", "flash.pwrite")
PUNCH = PUNCH_HOLE | KEEP_SIZE


class Piped(bytearray):
    """Bytes that are gone from memory once they were put into a file: a ``PipedBuffer``."""

    _file: tuple[int, int] | None = None

    def splice(self, fd: int, offset: int) -> int:
        """Write them all."""
        done = os.pwrite(fd, self, offset)
        self._file = fd, offset
        self[:] = bytes(len(self))
        return done

    def fetch(self) -> None:
        """Read them back."""
        if self._file:
            self[:] = os.pread(self._file[0], len(self), self._file[1])
            self._file = None


def write_piped(name: bytes, offset: int, data: bytes, full: Collection[str] = ()) -> Operation:
    """As ``write``; after a failure the bytes are there, to be written elsewhere."""

    def do(volume: LooseVolume) -> int:
        given = Piped(data)
        try:
            return volume.fs.data.write(volume.find(name).ino, offset, given)
        except (OSError, FsError):
            assert bytes(given) == data
            raise

    return replace_fields(write(name, offset, data, full), do=do)


def write(name: bytes, offset: int, data: bytes, full: Collection[str] = ()) -> Operation:
    def after(files: Files) -> Files:
        old = files[name].ljust(offset, b"\0")
        return {**files, name: old[:offset] + data + old[offset + len(data) :]}

    def do(volume: LooseVolume) -> int:
        return volume.fs.data.write(volume.find(name).ino, offset, data)

    return Operation(do, after, range(offset, offset + len(data)), name, full=full)


def truncate(name: bytes, size: int, full: Collection[str] = ()) -> Operation:
    def after(files: Files) -> Files:
        return {**files, name: files[name][:size].ljust(size, b"\0")}

    def do(volume: LooseVolume) -> object:
        return volume.fs.attributes.set(volume.find(name).ino, Changes(size=size))

    return Operation(do, after, subject=name, full=full)


def fallocate(
    name: bytes, offset: int, length: int, mode: int, full: Collection[str] = ()
) -> Operation:
    """A hole, zeros or only blocks; ``mode`` as fallocate(2) has it."""
    end = offset + length

    def after(files: Files) -> Files:
        data = bytearray(files[name])
        inside = max(0, min(end, len(data)) - offset)
        if mode & (PUNCH_HOLE | ZERO_RANGE):
            data[offset : offset + inside] = bytes(inside)
        return {**files, name: bytes(data if mode & KEEP_SIZE else data.ljust(end, b"\0"))}

    def do(volume: LooseVolume) -> None:
        volume.fs.ranges.fallocate(volume.find(name).ino, offset, length, mode)

    return Operation(do, after, range(offset, end), name, full=full)


def copy(
    source: bytes, offset: int, target: bytes, to: int, length: int, full: Collection[str] = ()
) -> Operation:
    """Bytes of one file to another, or within one."""

    def after(files: Files) -> Files:
        data = files[source][offset : offset + length]
        old = files[target].ljust(to, b"\0")
        return {**files, target: old[:to] + data + old[to + len(data) :]}

    def do(volume: LooseVolume) -> int:
        inodes = volume.find(source).ino, volume.find(target).ino
        return volume.fs.ranges.copy(inodes[0], offset, inodes[1], to, length)

    return Operation(do, after, range(to, to + length), target, full=full)


def fsync(name: bytes) -> Operation:
    return Operation(lambda volume: volume.fs.data.sync(volume.find(name).ino), lambda files: files)


def fsync_of_overwrite(name: bytes) -> Operation:
    """What is synced was written before: a file that is not dirty has nothing to be synced."""

    def do(volume: LooseVolume) -> None:
        ino = volume.find(name).ino
        volume.fs.data.write(ino, HEAD - 1, FILES[name][HEAD - 1 : HEAD + 1])
        volume.fs.data.sync(ino)

    return Operation(do, lambda files: files)


def fsync_of_first_bytes() -> Operation:
    """Objects that are made are synced with their names."""
    data = pattern(6000, 9)

    def do(volume: LooseVolume) -> None:
        ino = volume.find(b"empty").ino
        volume.fs.data.write(ino, 0, data)
        volume.fs.data.sync(ino)

    return Operation(do, lambda files: {**files, b"empty": data}, range(len(data)), b"empty")


def create_and_write() -> Operation:
    """The first bytes of a new file; the file may be there, empty, when they did not come."""
    data = pattern(6000, 7)

    def do(volume: LooseVolume) -> object:
        made = volume.find(b"new") if is_there(volume, b"new") else make(volume, b"new")
        return volume.fs.data.write(made.ino, 0, data)

    return Operation(
        do,
        lambda files: {**files, b"new": data},
        subject=b"new",
    )


def unlink(name: bytes) -> Operation:
    """Remove a name, and free what the file took."""

    def do(volume: LooseVolume) -> None:
        if is_there(volume, name):  # else only the freeing is to be repeated
            volume.fs.names.unlink(ROOT, name)
        volume.fs.reclaimer.drain()

    return Operation(do, lambda files: {k: v for k, v in files.items() if k != name})


def replace(source: bytes, target: bytes) -> Operation:
    """Rename onto a file that is freed then."""

    def do(volume: LooseVolume) -> None:
        if is_there(volume, source):
            volume.fs.names.rename(ROOT, source, ROOT, target)
        volume.fs.reclaimer.drain()

    return Operation(
        do,
        lambda files: {k: v for k, v in files.items() if k != source} | {target: files[source]},
    )


def drain() -> Operation:
    """Trim the file that was cut before."""
    return Operation(lambda volume: volume.fs.reclaimer.drain(), lambda files: files)


OPERATIONS: Mapping[str, Operation] = {
    "create and write": create_and_write(),
    "write the head": write(b"large", 100, pattern(900, 8)),
    "write across P": write(b"large", HEAD - 500, pattern(1000, 8)),
    "write the tail": write(b"large", HEAD + 500, pattern(1000, 8)),
    "append on flash": write(b"small", 1000, pattern(700, 8)),
    "append from flash to disk": write(b"small", 900, pattern(6000, 8)),
    "write the head from a pipe": write_piped(b"large", 100, pattern(900, 8)),
    "write across P from a pipe": write_piped(b"large", HEAD - 500, pattern(1000, 8)),
    "append on flash from a pipe": write_piped(b"small", 1000, pattern(700, 8)),
    "append on disk from a pipe": write_piped(b"large", 9900, pattern(3000, 8)),
    "append at P": write(b"exact", HEAD, pattern(100, 8)),
    "append on disk": write(b"large", 9900, pattern(3000, 8)),
    "write far behind the end": write(b"small", 8000, pattern(100, 8)),
    "write behind an end that was cut": write(b"cut", 600, pattern(100, 8)),
    "write across P behind an end that was cut": write(b"cut", 4000, pattern(400, 8)),
    "cut to nothing": truncate(b"large", 0),
    "cut to the head": truncate(b"large", 700),
    "cut to P": truncate(b"large", HEAD),
    "cut on disk": truncate(b"large", 6000),
    "extend on flash": truncate(b"small", 3000),
    "extend from flash to disk": truncate(b"small", 9000),
    "extend on disk": truncate(b"large", 20_000),
    "extend what was cut": truncate(b"cut", 8000),
    "allocate within the head": fallocate(b"small", 0, HEAD - 1, 0),
    "allocate from flash to disk": fallocate(b"small", 500, 9000, 0),
    "allocate the first bytes": fallocate(b"empty", 0, 9000, 0),
    "allocate behind the end": fallocate(b"large", 9000, 9000, 0),
    "allocate far behind the end": fallocate(b"small", 9000, 500, 0),
    "allocate behind an end that was cut": fallocate(b"cut", 300, 5000, 0),
    "reserve behind the end": fallocate(b"large", 5000, 50_000, KEEP_SIZE),
    "punch the head": fallocate(b"large", 100, 900, PUNCH),
    "punch across P": fallocate(b"large", HEAD - 500, 1000, PUNCH),
    "punch the tail": fallocate(b"large", 2 * HEAD, 9000, PUNCH),
    "punch all": fallocate(b"large", 0, 10_000, PUNCH),
    "zero across P": fallocate(b"large", HEAD - 500, 1000, ZERO_RANGE | KEEP_SIZE),
    "zero across P and the end": fallocate(b"small", 500, 9000, ZERO_RANGE),
    "copy a head": copy(b"other", 0, b"small", 0, HEAD),
    "copy a file": copy(b"other", 0, b"empty", 0, 20_000),
    "copy across both P": copy(b"other", HEAD - 700, b"large", HEAD - 300, 2000),
    "copy from flash to disk": copy(b"other", 100, b"large", HEAD + 100, 1000),
    "copy from disk to flash": copy(b"other", HEAD + 100, b"small", 200, 1000),
    "copy far behind the end": copy(b"other", 0, b"small", 8000, 9000),
    "copy behind an end that was cut": copy(b"other", 0, b"cut", 700, 9000),
    "copy within a file": copy(b"large", 500, b"large", 5000, 4500),
    "fsync": fsync_of_overwrite(b"large"),
    "fsync of the first bytes": fsync_of_first_bytes(),
    "unlink": unlink(b"large"),
    "unlink what was cut": unlink(b"cut"),
    "rename onto a file": replace(b"small", b"large"),
    "trim": drain(),
    "spill: append on flash": write(b"small", 1000, pattern(700, 8), NO_FLASH),
    "spill: append on flash from a pipe": write_piped(b"small", 1000, pattern(700, 8), NO_FLASH),
    "spill: append from flash to disk": write(b"small", 900, pattern(6000, 8), NO_FLASH),
    "spill: first bytes": write(b"empty", 0, pattern(6000, 8), NO_FLASH),
    "spill: overwrite across P": write(b"large", 4000, pattern(1000, 8), NO_FLASH),
    "spill: write far behind the end": write(b"small", 8000, pattern(100, 8), NO_FLASH),
    "spill: write behind an end that was cut": write(b"cut", 900, pattern(100, 8), NO_FLASH),
    "spill: extend": truncate(b"small", 9000, ("flash.ftruncate",)),
    "spill: allocate": fallocate(b"small", 500, 9000, 0, NO_BLOCKS),
    "spill: allocate the first bytes": fallocate(b"empty", 0, 9000, 0, NO_BLOCKS),
    "spill: punch": fallocate(b"large", 100, 9000, PUNCH, NO_BLOCKS),
    "spill: copy": copy(b"other", 100, b"small", 500, 8000, NO_COPY),
    "spill: copy within a file": copy(b"large", 500, b"large", 5000, 4500, NO_FLASH),
    "spill: copy to the head within a file": copy(b"large", 5000, b"large", 500, 4500, NO_COPY),
}
