"""The facts of files out of the index, as an access log tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tierfs.index.survey import Survey
from tierfs.tiering.access_lines import FileFacts
from tierfs.tiering.wish import on_flash

MOST_XATTRS = 16
LONGEST_VALUE = 256
"""Bytes; what a rule is about is a word, and a log is no place for documents."""

_TOLD: Final = b"user."


def facts_of(survey: Survey, inos: Sequence[int]) -> Mapping[int, FileFacts]:
    """The facts of those of the inodes that are regular files and have a name.

    Raises:
        IndexFailed: the index cannot be read.
    """
    rows = survey.some(inos)
    paths, xattrs = survey.paths(rows), survey.xattrs(inos, LONGEST_VALUE)
    return {
        row.ino: FileFacts(
            row.ino,
            row.size,
            row.mtime,
            row.uid,
            row.gid,
            on_flash(row),
            tuple(paths.get(row.ino, ())),
            tuple(pair for pair in xattrs.get(row.ino, ()) if pair[0].startswith(_TOLD))[
                :MOST_XATTRS
            ],
        )
        for row in rows
    }
