"""Where a file has data, and where holes: lseek(2) with SEEK_DATA and SEEK_HOLE, in one place.

A range takes two questions, and whoever cuts the file between them makes the second one fail as
the first does at the end: ENXIO, for an offset that the file no longer has. Neither is an error of
the file. It ends there now.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


def data_ranges(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of each range of data between ``start`` and ``end``, in order; bytes.

    Of a file that is cut meanwhile, what it still has when it is asked. A filesystem that knows no
    holes says that all is data, which is as good an answer.

    Raises:
        OSError: the file cannot be asked.
    """
    at = start
    while at < end:
        try:
            begin = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows, or nothing any longer
                return
            raise
        if begin < end:
            yield begin, min(at, end)
