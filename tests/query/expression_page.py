"""Writes the tables in docs/reference/expressions.md from the code's own.

Run ``python -m tests.query.expression_page`` after a change of the fields or the views.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

from tests.docs.pages import ROOT
from tierfs.metadata.schema import MIGRATIONS
from tierfs.metadata.views import VIEWS
from tierfs.query.fields import FIELDS, Facts, Field, Tags

PAGE = ROOT / "docs/reference/expressions.md"
_BLOCK = re.compile(r"(?s)(<!-- table: (\w+) -->\n).*?(<!-- end -->)")
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "is set")

OTHERS = (
    Field(
        "user.NAME", Tags(), "user.label = mitosis", "A tag: the extended attribute of this name."
    ),
    Field("FAMILY.NAME", Facts(), "image.width >= 2048", "A header fact, such as `image.width`."),
)
"""Fields by their prefix."""


def rendered(page: str) -> str:
    """``page`` with its tables as they must be."""
    tables: dict[str, Callable[[], Iterator[list[str]]]] = {"fields": fields, "views": views}
    return _BLOCK.sub(lambda found: f"{found[1]}{table(tables[found[2]]())}{found[3]}", page)


def fields() -> Iterator[list[str]]:
    yield ["field", "meaning", "operators", "value", "example"]
    for one in (*FIELDS, *OTHERS):
        known = [f"`{sign}`" for sign in OPERATORS if sign in one.kind.operators]
        example = f"`{one.example}`" if one.example else ""
        yield [f"`{one.name}`", one.meaning, " ".join(known), one.kind.written, example]


def views() -> Iterator[list[str]]:
    yield ["view", "rows", "columns"]
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            connection.executescript(migration)
        for name, (rows, select) in VIEWS.items():
            columns = [one[0] for one in connection.execute(select).description]
            yield [f"`{name}`", rows, ", ".join(f"`{column}`" for column in columns)]


def table(rows: Iterator[list[str]]) -> str:
    heading, *others = rows
    lines = [heading, ["---"] * len(heading), *others]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
