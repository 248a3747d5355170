"""A tree of tests to a condition of SQL, and what is left to be tested in Python.

What SQL alone decides is exact. Of the rest, such as paths, the condition says where the whole may
hold; the parts that are exact come with each row as a column, and `Compiled.holds` decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tierfs.metadata.inode_sql import KNOWN
from tierfs.query.expression import Condition, mistake, parse
from tierfs.query.fields import NOW, Term, field_of
from tierfs.query.quantities import BadText
from tierfs.query.tree import All, Not, Some, Tree, leaves, replaced

if TYPE_CHECKING:
    from tierfs.metadata.inode_sql import Found
    from tierfs.query.page import Page


class Known(NamedTuple):
    """A part that comes with each row, as the column of this number."""

    column: int


Node: TypeAlias = Tree[Term]

Rest: TypeAlias = Tree[Term | Known]
"""Its terms are late; what SQL decides is known."""

Sql: TypeAlias = tuple[str, tuple[object, ...]]
"""A condition, and the values of its question marks."""


class Compiled(NamedTuple):
    """An expression. ``values`` are of ``columns``, then of ``where``."""

    tree: Node
    where: str
    columns: tuple[str, ...]
    values: tuple[object, ...]
    rest: Rest | None
    """None: the condition is exact."""
    now: int

    def holds(self, page: Page, row: Found) -> bool:
        """Whether the whole expression holds for a row that the condition holds for."""
        return self.rest is None or _holds(self.rest, page, row) is True

    @property
    def needles(self) -> list[Term]:
        """Tests that must all hold, and of which one alone leaves few rows, if it is indexed."""
        parts = self.tree.parts if isinstance(self.tree, All) else (self.tree,)
        terms = [part for part in parts if isinstance(part, Term)]
        return [term for term in terms if term.tag or term.fact or term.under]


def compiled(text: str, now: int) -> Compiled:
    """An expression at the time ``now``, in nanoseconds since the epoch.

    Raises:
        BadExpression: it is none, or names a field or a value that there is not.
    """
    tree = replaced(parse(text), lambda condition: _bound(condition, text))
    if not _is_late(tree):
        where, values = _exact(tree)
        return Compiled(tree, _at(where, now), (), values, None, now)
    where, values = _may(tree, holds=True)
    columns: list[Sql] = []
    rest = _rest(tree, columns)
    return Compiled(
        tree,
        _at(where, now),
        tuple(f"({_at(sql, now)})" for sql, _ in columns),
        (*(value for _, some in columns for value in some), *values),
        rest,
        now,
    )


def _at(sql: str, now: int) -> str:
    return sql.replace(NOW, str(now))


# ------------------------------------------------------------------ fields and values


def _bound(node: Condition, text: str) -> Term:
    name = node.field.text
    try:
        field = field_of(name)
    except BadText as exc:
        raise mistake(text, node.field.column, str(exc), exc.hint) from None
    known = field.kind.operators
    if node.operator not in known:
        if not node.operator:
            what, hint = f'"{name}" needs a value', f'such as "{field.example}"'
        elif known == {""}:
            what, hint = f'"{name}" has no value', f'write "{name}" or "not {name}"'
        else:
            what = f'"{name}" cannot be compared by {node.operator}'
            hint = f"write one of {', '.join(sorted(known))}"
        raise mistake(text, node.field.column, what, hint)
    try:
        return field.kind.term(field, node.operator, [value.text for value in node.values])
    except BadText as exc:
        column = node.values[0].column
        for value in node.values:  # the one that is wrong
            if f'"{value.text}"' in str(exc):
                column = value.column
        raise mistake(text, column, str(exc), exc.hint) from None


# ------------------------------------------------------------------ SQL


def _is_late(node: Node) -> bool:
    return any(term.late is not None for term in leaves(node))


def _joined(parts: Iterable[Sql], word: str, empty: str) -> Sql:
    found = list(parts)
    sql = f" {word} ".join(f"({one})" for one, _ in found)
    return sql or empty, tuple(value for _, values in found for value in values)


def _exact(node: Node) -> Sql:
    if isinstance(node, Term):
        return node.sql, node.values
    if isinstance(node, Not):
        sql, values = _exact(node.part)
        return f"NOT ({sql})", values
    if isinstance(node, All):
        return _joined(map(_exact, node.parts), "AND", "1")
    return _joined(map(_exact, node.parts), "OR", "0")


def _may(node: Node, *, holds: bool) -> Sql:
    """Where a part may hold, or may not."""
    if isinstance(node, Not):
        return _may(node.part, holds=not holds)
    if isinstance(node, Term):
        if node.late is None:
            return (node.sql if holds else f"NOT ({node.sql})"), node.values
        sql = node.sql if holds else node.otherwise
        return sql, node.values if "?" in sql else ()
    both = [_may(part, holds=holds) for part in node.parts]
    return _joined(both, "AND" if isinstance(node, All) == holds else "OR", "1")


def _rest(node: Node, columns: list[Sql]) -> Rest:
    """The tree with what is exact as columns."""
    if not _is_late(node):
        columns.append(_exact(node))
        return Known(len(columns) - 1)
    if isinstance(node, Not):
        return Not(_rest(node.part, columns))
    if isinstance(node, All):
        return All(tuple(_rest(part, columns) for part in node.parts))
    if isinstance(node, Some):
        return Some(tuple(_rest(part, columns) for part in node.parts))
    return node


# ------------------------------------------------------------------ Python


def _holds(node: Rest, page: Page, row: Found) -> bool | None:
    if isinstance(node, Known):
        columns: tuple[Any, ...] = row
        value = columns[KNOWN + node.column]
        return None if value is None else bool(value)
    if isinstance(node, Term):
        return node.late(page, row) if node.late is not None else None
    if isinstance(node, Not):
        found = _holds(node.part, page, row)
        return None if found is None else not found
    decisive = isinstance(node, Some)
    unknown = False
    for part in node.parts:
        found = _holds(part, page, row)
        if found is decisive:
            return decisive
        unknown = unknown or found is None
    return None if unknown else not decisive
