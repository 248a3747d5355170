"""A plain tree out of a volume that nobody has mounted; and the end of such a volume.

To *give up* a volume, its files get names in the target instead of copies. Heads are mirrored, so
that every disk object is a whole file; owner, mode, times and extended attributes are given to the
object itself, and it gets a second name in the target (link(2)). Until all of that is durable the
volume has all its files, and tierfs changes none that has another name: after an
interruption the command can be run again, or the volume mounted as before. Then both markers say
that it has ended, and only then what is left of it is removed. An object with a name of
somebody else is linked if it has the attributes that the volume has for it, and copied otherwise.

A file gets its name in the target when it is complete, as in ``export.py``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, ParamSpec

from tierfs.common.errors import Damage, FsError, UsageError, errno_of
from tierfs.common.extents import Extent
from tierfs.common.ranges import NO_CLONE, clone_range
from tierfs.common.tree_report import Report, Watch, unwatched
from tierfs.fs.volume import Volume
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.transfer.copying import Attributes, Place, attributes_of, set_attributes, temporary
from tierfs.transfer.filling import Directory, Entry, Filling, real, require_apart

AT_ONCE: Final = 500
"""Files whose heads are mirrored with one sync."""

CHUNK: Final = 1 << 20

P = ParamSpec("P")


class VolumeExport(Filling[Inode]):
    """One run; with ``give_up`` the volume has ended if all went well.

    ``watch`` is called now and then with the figures so far.
    """

    def __init__(self, volume: Volume, *, give_up: bool = False, watch: Watch = unwatched) -> None:
        super().__init__(watch)
        self._volume = volume
        self._index = volume.index
        self._fs = volume.fs
        self._disk = volume.disk
        self._give_up = give_up

    def run(self, path: bytes, target: Path) -> Report:
        """Bring what is below ``path`` of the volume to below ``target``, made if there is none.

        All of it is durable at the end.

        Raises:
            UsageError: ``path`` is no directory, or the target is one of the volume's own.
            FsError: the index failed.
            OSError: a directory could not be made, or the target takes nothing more.
        """
        top, place = self._inode_at(path), real(target)
        for own in (self._volume.settings.flash, self._volume.settings.disk):
            require_apart(place, real(own))
        self._fill(target, lambda: top)
        if self._give_up and not self.report.errors:
            self._volume.end(place)
        return self.report

    def _inode_at(self, path: bytes) -> Inode:
        inode = self._index.inodes.get(ROOT)
        for name in filter(None, path.split(b"/")):
            found = self._index.dentries.find(inode.ino, name)
            if found is None:
                raise UsageError(f"{os.fsdecode(path)}: the volume has no such directory")
            inode = found
        if not stat.S_ISDIR(inode.mode):
            raise UsageError(f"{os.fsdecode(path)}: is no directory")
        return inode

    def _call(
        self, label: str, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        self._disk.call(label, function, *args, **kwargs)

    # ---------------------------------------------------------------- directories

    def _listed(self, directory: Directory[Inode]) -> Iterator[Entry[Inode]]:
        above = directory.path + b"/" if directory.path else b""
        for found in self._index.dentries.after(directory.source.ino, 2):
            target = Place(directory.target, found.name)
            yield Entry(above + found.name, found.inode, target)

    def _bring(self, files: list[Entry[Inode]]) -> None:
        for at in range(0, len(files), AT_ONCE):
            if self._give_up:
                self._mirror(files[at : at + AT_ONCE])
            for entry in files[at : at + AT_ONCE]:
                self._bring_one(entry)
            self._watch(self.report)

    def _mirror(self, entries: list[Entry[Inode]]) -> None:
        """Let the disk objects of files be whole; for which that fails, its bytes are copied."""
        inos = {
            entry.source.ino
            for entry in entries
            if stat.S_ISREG(entry.source.mode) and not _is_whole(entry.source)
        }
        with suppress(FsError, OSError):
            self._fs.migrator.mirror(sorted(inos), paced=lambda _: None)
        if self._volume.checkpoints.is_due():
            self._volume.checkpoints.make()

    # ---------------------------------------------------------------- one name

    def _bring_one(self, entry: Entry[Inode]) -> None:
        ino = entry.source.ino
        try:
            inode = self._fs.attributes.get(ino)
            attributes = self._attributes_of(inode)
            if ino in self._first:
                self._link_further(entry.target, self._first[ino])
                return
            if _is_present(entry.target, inode):
                self.report.count(present=1)
                self._note_lost(entry.path, self._set(entry, inode, attributes))
            elif not self._link(entry, inode, attributes):
                self._copy(entry, inode, attributes)
            if inode.nlink > 1:
                self._first[ino] = entry.path
        except FsError as error:
            self._fail(entry.path, OSError(errno_of(error), str(error)))
        except OSError as error:
            self._fail(entry.path, error)

    def _link(self, entry: Entry[Inode], inode: Inode, attributes: Attributes) -> bool:
        """Give the disk object a name in the target; False: that cannot be done, or not now."""
        if not (self._give_up and stat.S_ISREG(inode.mode) and inode.size and _is_whole(inode)):
            return False
        if inode.adopted:
            self._fs.shared.check(inode)
        fd = self._open_whole(inode)
        try:
            status = os.fstat(fd)
            if status.st_dev != os.fstat(entry.target.directory).st_dev:
                return False
            if status.st_nlink > 1:
                if not attributes.agrees(attributes_of(fd, status)):
                    return False  # others see its attributes as well
            elif lost := self._disk.call("attributes", set_attributes, fd, attributes):
                self._note_lost(entry.path, lost)
            with self._disk.directories.open_path(inode.ino) as above:
                self._put(entry.target, str(inode.ino), above)
        finally:
            os.close(fd)
        self.report.count(linked=1)
        return True

    def _open_whole(self, inode: Inode) -> int:
        """A descriptor of a disk object that is the whole file, without anything behind its end."""
        try:
            if not inode.adopted:
                self._disk.trim(inode.ino, inode.size)
            fd = self._disk.open_object(inode.ino)
        except FileNotFoundError:
            raise Damage(inode.ino, "its disk object is missing") from None
        if os.fstat(fd).st_size < inode.size:
            os.close(fd)
            raise Damage(inode.ino, "its disk object is too short")
        return fd

    def _copy(self, entry: Entry[Inode], inode: Inode, attributes: Attributes) -> None:
        new = temporary(entry.target)
        try:
            if stat.S_ISREG(inode.mode):
                lost = self._copy_file(new, inode, attributes)
            else:
                if inode.target is not None:
                    os.symlink(inode.target, new.name, dir_fd=new.directory)
                else:
                    os.mknod(new.name, inode.mode, inode.rdev, dir_fd=new.directory)
                lost = set_attributes(new.path, attributes)
                self.report.count(others=1)
            new.rename(entry.target)
        except BaseException:
            new.discard()
            raise
        self._note_lost(entry.path, lost)

    def _copy_file(self, new: Place, inode: Inode, attributes: Attributes) -> tuple[str, ...]:
        out = new.open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            if self._share(out, inode):
                self.report.count(shared=1)
            else:
                self.report.count(copied=1, copied_bytes=self._copy_bytes(out, inode))
            os.ftruncate(out, inode.size)
            return set_attributes(out, attributes)
        finally:
            os.close(out)

    def _share(self, out: int, inode: Inode) -> bool:
        """Let a file have all blocks of the disk object (ioctl_ficlonerange(2))."""
        if not inode.size or not _is_whole(inode):
            return False
        if inode.adopted:
            self._fs.shared.check(inode)
        fd = self._disk.open_object(inode.ino)
        try:
            clone_range(out, 0, 0, fd, 0)
        except OSError as error:
            if error.errno not in NO_CLONE:
                raise
            return False
        finally:
            os.close(fd)
        if inode.adopted:
            self._fs.shared.check(inode)
        return os.fstat(out).st_size >= inode.size

    def _copy_bytes(self, out: int, inode: Inode) -> int:
        copied = 0
        for extent in self._data(inode):
            data = memoryview(self._fs.reads.read(inode.ino, extent.offset, extent.length))
            offset = extent.offset
            while data:
                written = os.pwrite(out, data, offset)
                data, offset = data[written:], offset + written
            copied += extent.length
        return copied

    def _data(self, inode: Inode) -> Iterator[Extent]:
        """What of a file is no hole, in pieces."""
        offset = 0
        while offset < inode.size:
            try:
                offset = self._fs.ranges.seek(inode.ino, offset, os.SEEK_DATA)
            except FsError as error:
                if error.errno != errno.ENXIO:
                    raise
                return
            end = self._fs.ranges.seek(inode.ino, offset, os.SEEK_HOLE)
            for at in range(offset, end, CHUNK):
                yield Extent(at, min(CHUNK, end - at))
            offset = end

    # ---------------------------------------------------------------- attributes, failures

    def _attributes_of(self, source: Inode) -> Attributes:
        xattrs = {}
        for name in self._index.xattrs.names(source.ino):
            value = self._index.xattrs.find(source.ino, name)
            if value is not None:
                xattrs[os.fsdecode(name)] = value
        return Attributes(source.mode, source.uid, source.gid, source.atime, source.mtime, xattrs)

    def _set(self, entry: Entry[Inode], inode: Inode, attributes: Attributes) -> tuple[str, ...]:
        """Of a file that is there: unless others see its attributes as well."""
        if inode.adopted:
            return ()
        return set_attributes(entry.target.path, attributes)


def _is_whole(inode: Inode) -> bool:
    """Whether its disk object has all its bytes."""
    return bool(inode.prefix == 0 or inode.mirrored or inode.adopted) or inode.size == 0


def _is_present(target: Place, inode: Inode) -> bool:
    """Whether an earlier run has brought it: a file gets its name when it is complete."""
    try:
        there = target.status()
    except FileNotFoundError:
        return False
    owner = (inode.uid, inode.gid)
    return (
        (there.st_mode, there.st_size, there.st_mtime_ns) == (inode.mode, inode.size, inode.mtime)
        and there.st_rdev == inode.rdev
        and (os.geteuid() != 0 or (there.st_uid, there.st_gid) == owner)
    )
