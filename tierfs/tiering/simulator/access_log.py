"""A recorded access log as a workload of the simulator."""

from __future__ import annotations

from pathlib import Path

from tierfs.base.errors import UsageError
from tierfs.base.extents import WHOLE_FILE
from tierfs.tiering.access_log import FileFacts, Recording, Use
from tierfs.tiering.simulator.access import Access, Workload, sizes_of


def read_log(path: Path, head: int = WHOLE_FILE) -> Workload:
    """The uses in the log ``path``; ``head`` is in bytes. All of them are counted.

    They are sorted by time, since threads write a little out of order. A file has as many bytes as
    the log's last word on it, else as the largest of its lines, cut to ``head``: what it would
    take on flash.

    Raises:
        UsageError: a line is wrong, told as FILE:LINE:COLUMN; there is none; it cannot be read.
    """
    accesses, sizes = _collected(Recording(path))
    if not accesses:
        raise UsageError(f"{path} has no access; a line is: SECONDS INODE BYTES [w]")
    accesses.sort(key=lambda access: access.time)
    start = accesses[0].time
    known = sizes_of(accesses) | {ino: size for ino, size in sizes.items() if size}
    return Workload(
        path.name,
        [
            Access(time - start, ino, min(known[ino], head), write)
            for time, ino, _, write in accesses
        ],
    )


def _collected(recording: Recording) -> tuple[list[Access], dict[int, int]]:
    """The accesses as they stand, and the sizes that the log tells of files."""
    accesses, sizes = [], {}
    for line in recording:
        if recording.damaged:
            break
        if isinstance(line, Use):
            accesses.append(Access(line.time, line.ino, line.size, line.write))
        elif isinstance(line, FileFacts):
            sizes[line.ino] = line.size
    if recording.damaged:
        raise UsageError(str(recording.damaged[0]))
    return accesses, sizes
