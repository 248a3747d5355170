"""A recorded access log as a workload.

A line for each access, its parts separated by blanks::

    SECONDS INODE BYTES [w]

``SECONDS`` is a decimal number, since whenever; ``INODE`` and ``BYTES`` are positive whole numbers;
``w`` marks a write. Empty lines and what follows a ``#`` are left out. Lines may be a little out of
order, as threads write them; they are sorted by time. A file is taken to have as many bytes as the
largest of its lines, cut to ``head``: what it would take on flash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from tierfs.base.durations import SECOND
from tierfs.base.errors import UsageError
from tierfs.base.extents import WHOLE_FILE
from tierfs.tiering.simulator.access import Access, Workload, sizes_of

_LINE: Final = re.compile(
    rb"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s+([0-9]{1,19})\s+([0-9]{1,19})(\s+w)?\s*"
)
_COMMENT: Final = b"#"
_LARGEST_INODE: Final = 2**63 - 1
"""SQLite's, and so the index's."""


def read_log(path: Path, head: int = WHOLE_FILE) -> Workload:
    """The accesses of the log ``path``; ``head`` is in bytes. All of them are counted.

    Raises:
        UsageError: a line is wrong, told as FILE:LINE:COLUMN; there is none; it cannot be read.
    """
    try:
        with path.open("rb") as file:
            accesses = list(_accesses(path, file))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; name an access log") from None
    if not accesses:
        raise UsageError(f"{path} has no access; a line is: SECONDS INODE BYTES [w]")
    accesses.sort(key=lambda access: access.time)
    sizes, start = sizes_of(accesses), accesses[0].time
    return Workload(
        path.name,
        [
            Access(time - start, ino, min(sizes[ino], head), write)
            for time, ino, _, write in accesses
        ],
    )


def _accesses(path: Path, lines: Iterable[bytes]) -> Iterator[Access]:
    for number, line in enumerate(lines, 1):
        text = line.partition(_COMMENT)[0].strip()
        if text:
            access = _access(text)
            if access is None:
                shown = "".join(c if c.isprintable() else "?" for c in text[:40].decode("latin-1"))
                raise UsageError(
                    f'{path}:{number}:1: "{shown}" is not an access; write SECONDS INODE BYTES,'
                    " then w for a write, such as: 12.250 4711 65536"
                )
            yield access


def _access(text: bytes) -> Access | None:
    match = _LINE.fullmatch(text)
    if match is None:
        return None
    seconds, ino, size, write = match.groups()
    if not (0 < int(ino) <= _LARGEST_INODE and 0 < int(size) <= WHOLE_FILE):
        return None
    time = int(Decimal(seconds.decode("ascii")) * SECOND)
    return Access(time, int(ino), int(size), write is not None)
