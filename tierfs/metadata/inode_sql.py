"""SQL on a row ``i`` of the inode table, for `tierfs.metadata.finding`.

In a module of its own, so that a command that only reads expressions loads no SQLite.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from tierfs.metadata.tag_indexes import literal


class Found(NamedTuple):
    """What is always known of an inode; behind it the values of the columns that were asked for."""

    ino: int
    parent: int
    mode: int
    nlink: int
    size: int
    ctime: int

    @property
    def values(self) -> tuple[Any, ...]:
        """Those of the columns."""
        return self[KNOWN:]


KNOWN: Final = len(Found._fields)
"""Where the columns begin."""

FIRST_NAME: Final = (
    "SELECT CASE WHEN i.nlink = 1 OR i.mode & 0xF000 = 0x4000 THEN {} END FROM entry "
    "WHERE parent = i.parent AND cookie = i.ino AND entry.ino = i.ino"
)
"""A condition on the ``name`` of an inode that has one name, the one that it was made with."""

CHECKSUM: Final = (
    "(SELECT lower(hex(whole)) FROM checksum WHERE ino = i.ino AND version = i.version)"
)
"""That of all bytes of a file, while it holds; NULL: there is none."""


def tag_of(name: bytes) -> str:
    """The value of an attribute ``user.`` of the row, in SQL; NULL: it is not set."""
    return f"(SELECT value FROM xattr WHERE ino = i.ino AND name = {literal(name)})"  # noqa: S608 - in hexadecimal


def tag_is(name: bytes, marks: str) -> str:
    """Whether the value of an attribute is one of some, in SQL."""
    where = f"ino = i.ino AND name = {literal(name)} AND value IN ({marks})"
    return f"EXISTS (SELECT 1 FROM xattr WHERE {where})"  # noqa: S608 - names in hexadecimal


def fact_of(key: str) -> str:
    """The value of a header fact of the row, in SQL; NULL: it is not known."""
    quoted = key.replace("'", "''")
    return (
        "(SELECT fact.value FROM fact JOIN fact_state USING (ino) "  # noqa: S608 - quoted
        f"WHERE fact.ino = i.ino AND key = '{quoted}' AND data_version = i.version)"
    )
