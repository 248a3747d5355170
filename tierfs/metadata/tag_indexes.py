"""Indexes of tags: of the values of single attributes ``user.``, which the volume file names.

They are no part of the schema: a mount makes those that its volume file names, and drops others.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "tag "
"""What the name of such an index begins with, before the name of the attribute."""


def literal(name: bytes) -> str:
    """The name of an attribute in SQL; the planner uses an index only where both agree."""
    return f"x'{name.hex()}'"


def tag_index(name: bytes) -> str:
    """What the index of an attribute is called."""
    return PREFIX + name.decode("utf-8", "surrogateescape")


def create_tag_index(name: bytes) -> str:
    """The statement that makes it, as SQLite keeps it."""
    quoted = tag_index(name).replace('"', '""')
    return f'CREATE INDEX "{quoted}" ON xattr (value) WHERE name = {literal(name)}'


def drop_tag_index(name: str) -> str:
    """The statement that drops the index of this name."""
    quoted = name.replace('"', '""')
    return f'DROP INDEX "{quoted}"'


def is_tag_index(name: str, statement: str) -> bool:
    """Whether an index of the database is one of these, as it must be."""
    attribute = name.removeprefix(PREFIX).encode("utf-8", "surrogateescape")
    return name.startswith(PREFIX) and statement == create_tag_index(attribute)
