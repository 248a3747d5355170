"""The columns of an answer: fields, and their values of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from tierfs.common.errors import UsageError
from tierfs.metadata.inode_sql import KNOWN
from tierfs.query.fields import Field, Value, field_of
from tierfs.query.quantities import BadText

if TYPE_CHECKING:
    from tierfs.metadata.inode_sql import Found
    from tierfs.query.page import Page

Row: TypeAlias = Sequence[Value]


class Columns:
    """Fields to be shown: those that SQL finds, and those that a page does."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = fields
        self.sql = tuple(one.sql for one in fields if one.value is None)

    def of(self, page: Page, found: Sequence[Found], skip: int) -> list[Row]:
        """The values of rows; the first ``skip`` columns of these are of something else."""
        columns: list[Iterable[Value]] = []
        at = KNOWN + skip
        for one in self.fields:
            if (find := one.value) is not None:
                columns.append([find(page, row) for row in found])
                continue
            values = [row[at] for row in found]
            columns.append(map(plain, values) if one.kind.is_raw else values)
            at += 1
        return list(zip(*columns, strict=True))


def plain(value: Any) -> Value:  # noqa: ANN401 - of any column
    """A value that JSON knows; bytes as `os.fsdecode` makes them."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def columns_of(names: Sequence[str]) -> Columns:
    """The fields of these names.

    Raises:
        UsageError: there is no such field.
    """
    try:
        return Columns(tuple(map(field_of, names)))
    except BadText as exc:
        raise UsageError(f"{exc}{f'; {exc.hint}' if exc.hint else ''}") from None
