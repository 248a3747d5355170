"""Every kind of move, on the files of ``scenarios``: how the file is before and after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fs.scenarios import HEAD, before, contents, make, pattern, prepared
from tests.support.volumes import LooseVolume
from tierfs.common.extents import WHOLE_FILE
from tierfs.fs import tiers
from tierfs.fs.migration_plan import Migrated
from tierfs.metadata.inodes import Inode

CHUNK = 3000
"""Bytes copied at a time, so that files of some KiB take several."""

SPARSE = b"sparse"
SPARSE_DATA = pattern(HEAD // 2, 6) + bytes(5 * HEAD) + pattern(HEAD, 7) + bytes(3 * HEAD)
"""A file with two holes, one of them at its end, that begin within a block."""


def free(_: int) -> None:
    """No limit to the rate."""


def place(volume: LooseVolume, name: bytes, prefix: int, *, keep_mirror: bool = True) -> Migrated:
    """Promote or demote a file of the root."""
    return volume.fs.migrator.place(
        volume.find(name).ino, prefix, keep_mirror=keep_mirror, paced=free
    )


def mirror(volume: LooseVolume, *names: bytes) -> list[Migrated]:
    """Mirror files of the root."""
    return volume.fs.migrator.mirror([volume.find(name).ino for name in names], paced=free)


def must(moved: Migrated) -> None:
    """Assert that it was moved."""
    assert moved.outcome == "moved", moved


def make_sparse(volume: LooseVolume) -> None:
    """Make the sparse file."""
    ino = make(volume, SPARSE).ino
    half = HEAD // 2
    volume.fs.data.write(ino, 0, SPARSE_DATA[:half])
    start = half + 5 * HEAD
    volume.fs.data.write(ino, start, SPARSE_DATA[start : start + HEAD])
    volume.fs.data.truncate(ino, len(SPARSE_DATA))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of move: ``start`` and ``end`` are P and the mirror's mark before and after it."""

    name: bytes
    start: tuple[int, bool]
    end: tuple[int, bool]
    keep_mirror: bool = True

    def prepare(self, volume: LooseVolume) -> None:
        """Bring the file to where the move begins."""
        if self.name == SPARSE:
            make_sparse(volume)
        bring(volume, self.name, *self.start)

    def do(self, volume: LooseVolume) -> Migrated:
        """Move it, unless it is there already."""
        inode = volume.find(self.name)
        if state(inode) == self.end:
            return Migrated(inode.ino, "nothing")
        if self.end[0] == inode.prefix:
            return mirror(volume, self.name)[0]
        return place(volume, self.name, self.end[0], keep_mirror=self.keep_mirror)


def state(inode: Inode) -> tuple[int, bool]:
    """P and the mirror's mark."""
    return inode.prefix, bool(inode.mirrored)


def bring(volume: LooseVolume, name: bytes, prefix: int, mirrored: bool) -> None:  # noqa: FBT001
    """Give a file its P and its mirror, from P = HEAD without a mirror."""
    if prefix != HEAD:
        must(place(volume, name, prefix, keep_mirror=False))
    if mirrored:
        must(mirror(volume, name)[0])
    assert state(volume.find(name)) == (prefix, mirrored)
    volume.fs.reclaimer.drain()


WITHIN_A_PAGE = 1000
"""A prefix that nobody can ask for: of which a check of the volume tells."""

KINDS: Mapping[str, Kind] = {
    "evict a file of a head": Kind(b"small", (HEAD, False), (0, False)),
    "evict the head of a large file": Kind(b"large", (HEAD, False), (0, False)),
    "evict a mirrored file": Kind(b"small", (HEAD, True), (0, False)),
    "evict a mirrored head": Kind(b"large", (HEAD, True), (0, False)),
    "evict a whole file": Kind(b"large", (WHOLE_FILE, False), (0, False)),
    "evict what was cut": Kind(b"cut", (HEAD, False), (0, False)),
    "evict a sparse file": Kind(SPARSE, (WHOLE_FILE, False), (0, False)),
    "shrink to the head": Kind(b"large", (WHOLE_FILE, False), (HEAD, False)),
    "shrink a mirrored file to the head": Kind(b"large", (WHOLE_FILE, True), (HEAD, True)),
    "shrink and drop the mirror": Kind(
        b"large", (WHOLE_FILE, True), (HEAD, False), keep_mirror=False
    ),
    "shrink to less than a head": Kind(b"exact", (HEAD, False), (WITHIN_A_PAGE, False)),
    "shrink a sparse file": Kind(SPARSE, (WHOLE_FILE, False), (HEAD, False)),
    "promote to a head and keep the mirror": Kind(b"small", (0, False), (HEAD, True)),
    "promote to a head without a mirror": Kind(
        b"small", (0, False), (HEAD, False), keep_mirror=False
    ),
    "promote the head of a large file": Kind(b"large", (0, False), (HEAD, True)),
    "promote a whole file at once": Kind(b"large", (0, False), (WHOLE_FILE, True)),
    "promote from the head to the whole": Kind(b"large", (HEAD, False), (WHOLE_FILE, False)),
    "promote a mirrored file": Kind(b"large", (HEAD, True), (WHOLE_FILE, True)),
    "promote a mirrored file and drop the mirror": Kind(
        b"large", (HEAD, True), (WHOLE_FILE, False), keep_mirror=False
    ),
    "promote a sparse file": Kind(SPARSE, (0, False), (WHOLE_FILE, True)),
    "give a small file a larger P": Kind(b"small", (HEAD, False), (2 * HEAD, False)),
    "mirror a small file": Kind(b"small", (HEAD, False), (HEAD, True)),
    "mirror a head": Kind(b"large", (HEAD, False), (HEAD, True)),
    "mirror a whole file": Kind(b"large", (WHOLE_FILE, False), (WHOLE_FILE, True)),
    "mirror a sparse file": Kind(SPARSE, (WHOLE_FILE, False), (WHOLE_FILE, True)),
}


def expected(kind: Kind) -> dict[bytes, bytes]:
    """The content of every file, before and after the move."""
    return before() | ({SPARSE: SPARSE_DATA} if kind.name == SPARSE else {})


@contextlib.contextmanager
def ready(template: LooseVolume, home: Path, kind: Kind) -> Iterator[LooseVolume]:
    """A copy of the template, open, where the move may begin."""
    with prepared(template, home) as volume:
        kind.prepare(volume)
        volume.os.clear()
        yield volume


def same(volume: LooseVolume, kind: Kind, where: str) -> None:
    """Assert that every file is as it was, and that the moved one is where it began or ended."""
    assert contents(volume) == expected(kind), where
    assert state(volume.find(kind.name)) in {kind.start, kind.end}, where


@contextlib.contextmanager
def small_chunks() -> Iterator[None]:
    """Let a copy take several chunks."""
    usual = tiers.COPY_CHUNK
    tiers.COPY_CHUNK = CHUNK
    try:
        yield
    finally:
        tiers.COPY_CHUNK = usual


def objects(volume: LooseVolume, ino: int) -> tuple[bytes | None, bytes | None]:
    """What both objects hold."""
    both = volume.flash_object(ino), volume.disk_object(ino)
    flash, disk = (path.read_bytes() if path.exists() else None for path in both)
    return flash, disk


def moved_bytes(volume: LooseVolume, source: str, target: str) -> float:
    labels = {"source": source, "target": target}
    return volume.metrics.registry.get_sample_value("tierfs_moved_bytes_total", labels) or 0
