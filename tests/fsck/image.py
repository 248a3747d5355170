"""A volume with something of everything, as a killed daemon leaves it; and means to harm it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.fs.scenarios import HEAD, ME, make, pattern, template
from tests.support.volumes import LooseVolume, volume_settings
from tierfs.fs.volume import HEADS, OBJECTS
from tierfs.metadata.inodes import ROOT
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.storage.layout import object_path

DIRECTORY = stat.S_IFDIR | 0o755
LINK = stat.S_IFLNK | 0o777


class Image:
    """The two directories of a volume that nobody has open."""

    def __init__(self, home: Path) -> None:
        self.settings = volume_settings(home, HEAD)

    def copy(self, home: Path) -> Image:
        """Another, with the same in it."""
        shutil.copytree(self.settings.path.parent, home, symlinks=True)
        return Image(home)

    def sql(self, statement: str, *args: object) -> list[tuple[int, ...]]:
        """Run a statement on the index, and commit; kept counts are not to be compared then."""
        with closing(sqlite3.connect(self.settings.index, isolation_level=None)) as connection:
            if "usage" not in statement:
                connection.execute("UPDATE usage SET exact = 0")
            return connection.execute(statement, args).fetchall()

    def set(self, ino: int, column: str, value: object) -> None:
        """Change an attribute of an inode."""
        self.sql(f"UPDATE inode SET {column} = ? WHERE ino = ?", value, ino)  # noqa: S608

    def ino(self, name: bytes) -> int:
        """The inode of the only entry that has this name."""
        ((ino,),) = self.sql("SELECT ino FROM entry WHERE name = ?", name)
        return ino

    def flash(self, ino: int) -> Path:
        return self.settings.flash / HEADS / object_path(ino)

    def disk(self, ino: int) -> Path:
        return self.settings.disk / OBJECTS / object_path(ino)

    def lose(self, ino: int) -> None:
        """Remove the row of an inode."""
        self.sql("DELETE FROM inode WHERE ino = ?", ino)

    def unname(self, ino: int) -> None:
        """Remove every name of an inode."""
        self.sql("DELETE FROM entry WHERE ino = ?", ino)


def populate(volume: LooseVolume) -> None:
    """Directories, links, a mirrored file, pins; and what the next mount is to free."""
    upper = directory(volume, ROOT, b"upper")
    middle = directory(volume, upper, b"middle")
    lower = directory(volume, middle, b"lower")
    directory(volume, ROOT, b"aside")
    deep = make(volume, b"deep", lower).ino
    volume.fs.data.write(deep, 0, pattern(9000))
    volume.fs.names.link(volume.find(b"small").ino, upper, b"twin")
    volume.fs.names.make(upper, b"symlink", LINK, ME, target=b"deep")
    mirrored = make(volume, b"mirrored").ino
    volume.fs.data.write(mirrored, 0, pattern(3000))
    with volume.index.transaction():
        volume.index.xattrs.put(mirrored, b"user.label", b"cell")
        volume.index.pins_and_requests.pin(Pin(mirrored, None))
        volume.index.pins_and_requests.request(Request(deep, 0))
    (moved,) = volume.fs.migrator.mirror([mirrored], paced=at_once)
    assert moved.outcome == "moved"
    volume.fs.syncer.checkpoint()
    gone = volume.fs.names.make(ROOT, b"gone", stat.S_IFREG | 0o600, ME).ino
    volume.fs.data.write(gone, 0, pattern(5000))
    volume.fs.names.unlink(ROOT, b"gone")
    volume.fs.data.truncate(volume.find(b"cut").ino, 500)


def at_once(_length: int) -> None:
    """Let a move copy as fast as it can."""


def directory(volume: LooseVolume, parent: int, name: bytes) -> int:
    """Make a directory that the kernel has forgotten."""
    ino = volume.fs.names.make(parent, name, DIRECTORY, ME).ino
    volume.fs.names.forget(ino)
    return ino


@contextmanager
def made(home: Path) -> Iterator[Image]:
    """The image, copied while the volume was open, so with a log to replay."""
    with template() as pattern_volume:
        volume = LooseVolume(pattern_volume.settings)
        volume.open()
        try:
            populate(volume)
            shutil.copytree(volume.home, home, symlinks=True)
        finally:
            volume.close()
    assert os.stat(f"{Image(home).settings.index}-wal").st_size > 0
    yield Image(home)
