"""The files that an expression holds for: `tierfs find`, in a process beside the daemon.

Nothing is walked. Rows are read by ranges of inode numbers, each in one state of the index, or,
where that leaves few, by an index of a tag or a header fact, or by the directories below a path.
An inode counts once, with its path in the directory that it was last linked in, as for the policy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from tierfs.common.collector import no_collector
from tierfs.common.errors import UsageError
from tierfs.metadata.finding import Finder
from tierfs.metadata.inode_sql import Found
from tierfs.metadata.inodes import ROOT
from tierfs.policy.glob import text_glob
from tierfs.query.columns import Columns, Row, columns_of, plain
from tierfs.query.compiling import compiled
from tierfs.query.expression import mistake, parse
from tierfs.query.fields import FACT, NOW, Value
from tierfs.query.page import Page, World
from tierfs.query.quantities import meant
from tierfs.query.settled import of_one_moment
from tierfs.query.stream import Stream
from tierfs.query.tree import leaves
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_file import unpack_heat

SPAN: Final = 65_536
"""Inode numbers that one query goes through: some hundredths of a second."""

SOME: Final = 4096
"""Inodes of an index, or of a directory, that are looked at together."""

MOST_SORTED: Final = 1_000_000
"""Rows that are sorted without a limit: some hundred MiB."""

MOST_GROUPS: Final = 1_000_000

UNLIMITED: Final = 2**63

T = TypeVar("T")

Emit: TypeAlias = Callable[[Sequence[Row]], object]
"""Called with some rows at a time, in the order of ``columns``."""


@dataclass(frozen=True, slots=True)
class FindRequest:
    """What is to be found.

    Args:
        index: the index.
        now: the time, in nanoseconds since the epoch.
        expression: what holds for the files.
        top: the directory, by inode number, in and below which they are.
        columns: fields to be shown.
        sort: a field to sort by; empty: by inode number, or as they come.
        descending: the largest first.
        limit: rows at most; 0: all.
        count: only how many there are.
        explain: only how they would be found.
        consistent: all of it is of one moment; else each page is.
        group_by: a field; rows are its values, each with the number of files and their bytes.
        heat: a snapshot of the reads that are known, and ...
        heat_capacity: ... how many files there are in it at most.
    """

    index: Path
    now: int
    expression: str
    top: int = ROOT
    columns: tuple[str, ...] = ("path",)
    sort: str = ""
    descending: bool = False
    limit: int = 0
    count: bool = False
    explain: bool = False
    consistent: bool = False
    group_by: str = ""
    heat: bytes = b""
    heat_capacity: int = 64


@lru_cache(maxsize=1024)
def _pattern(text: str) -> Callable[[str], object]:
    return text_glob(text).pattern.fullmatch


def fits(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern that was read already."""
    return _pattern(pattern)(text) is not None


class Find:
    """One query, on an index that others write to."""

    def __init__(self, request: FindRequest, finder: Finder) -> None:
        """Compile the expression.

        Raises:
            BadExpression: the expression is none.
            UsageError: there is no such field.
        """
        self._request = request
        self._finder = finder
        self._compiled = compiled(request.expression, request.now)
        heat = Heat(max(1, request.heat_capacity))
        if request.heat:
            unpack_heat(heat, request.heat)
        self._world = World(finder, heat, request.now)
        self._start = request.top
        """The directory below which rows are looked for; `ROOT`: anywhere."""
        self._above = b"/"
        """The path of the directory that files are below."""
        self._needle: list[tuple[str, Callable[..., list[int]]]] | None = None
        """Ways to the rows by an index: what each is called, and the inodes behind one."""
        self._met: set[int] = set()
        """Inodes with several names that were found already."""

    def prepare(self) -> None:
        """Choose how rows are read.

        Raises:
            UsageError: the directory is gone, or no file has a header fact of this name.
            FsError: the index could not be read.
        """
        finder, top = self._finder, self._request.top
        above = finder.consistently(lambda: finder.directory_path(top))
        if above is None:
            raise UsageError("the directory is not there any more")
        self._above = above
        tags = finder.consistently(finder.indexed_tags)
        for term in self._compiled.needles:
            if term.tag is not None and term.tag[0] in tags:
                name, values = term.tag
                shown = os.fsdecode(name)
                self._needle = [
                    (shown, partial(finder.tagged, name, value, limit=SOME)) for value in values
                ]
            elif term.fact is not None:
                key, wanted = term.fact
                self._needle = [
                    (key, partial(finder.with_fact, key, value, limit=SOME)) for value in wanted
                ]
            if self._needle is not None:
                return
        if top == ROOT:
            self._start = self._nearest()

    def _nearest(self) -> int:
        """The directory that all paths which can fit are below."""
        under = max((term.under for term in self._compiled.needles), key=len, default=())
        at = ROOT
        for name in under:
            read = partial(self._finder.directory_in, at, os.fsencode(name))
            found = self._finder.consistently(read)
            if found is None:  # then nothing fits, and what is read does not matter
                break
            at = found
        return at

    def check_facts(self, names: Sequence[str]) -> None:
        """Refuse a header fact that no file has, if another has nearly this name.

        Raises:
            UsageError: there is such a one.
            FsError: the index could not be read.
        """
        wanted = [name for name in names if FACT.fullmatch(name) and not name.startswith("user.")]
        if not wanted:
            return
        known = self._finder.consistently(self._finder.fact_keys)
        for name in wanted:
            if name not in known and (hint := meant(name, known)):
                at = self._request.expression.find(name)
                raise mistake(
                    self._request.expression, max(at, 0), f'no file has a fact "{name}"', hint
                )

    # -------------------------------------------------------------- the rows

    def pages(
        self,
        columns: Sequence[str],
        finish: Callable[[Page, list[Found]], T],
        order: str = "",
    ) -> Iterator[T]:
        """What ``finish`` makes of each page; the columns come behind those of the expression.

        It is called again where a page was not all of one state. ``order`` of the rows of a page,
        which may have a limit: where SQL alone answers.

        Raises:
            FsError: the index could not be read.
        """
        now = str(self._request.now)
        selected = (
            *self._compiled.columns,
            *(column.replace(NOW, now) for column in columns),
        )
        for read in self._reads(selected, order.replace(NOW, now)):
            found, result = self._finder.consistently(partial(self._page, read, finish))
            if self._needle is None and self._start != ROOT:
                # Those with several names may be met again in another directory.
                self._met.update(one.ino for one in found if one.nlink > 1)
            yield result

    def _page(
        self, read: Callable[[], list[Found]], finish: Callable[[Page, list[Found]], T]
    ) -> tuple[list[Found], T]:
        """Read a page, and leave out what does not belong to it."""
        rows = [one for one in read() if one.ino not in self._met]
        page = Page(self._world, rows)
        known = self._compiled
        if known.rest is not None:
            rows = [one for one in rows if known.holds(page, one)]
        if self._request.top != ROOT:
            rows = [one for one in rows if self._is_below(page, one)]
        return rows, finish(page, rows)

    def _is_below(self, page: Page, row: Found) -> bool:
        if row.ino == self._request.top:
            return True
        above = os.fsdecode(self._above) + "/"
        return any(path.startswith(above) for path in page.paths(row))

    def _reads(self, columns: Sequence[str], order: str) -> Iterator[Callable[[], list[Found]]]:
        """What reads each page."""
        known, finder = self._compiled, self._finder
        if self._needle is None and self._start == ROOT:
            for after in range(0, finder.consistently(finder.last_inode), SPAN):
                read = partial(finder.within, after, SPAN, columns, known.where, known.values)
                yield partial(read, order) if order else read
            return
        some = self._by_index() if self._needle is not None else self._below()
        for inos in some:
            yield partial(finder.among, inos, columns, known.where, known.values)

    def _by_index(self) -> Iterator[list[int]]:
        for _, behind in self._needle or ():
            after = 0
            while inos := self._finder.consistently(partial(behind, after=after)):
                yield inos
                after = inos[-1]

    def _below(self) -> Iterator[list[int]]:
        """The inodes in and below the directory."""
        left, directories = [self._start], {self._start}
        yield [self._start]
        while left:
            directory, after = left.pop(), 0
            while True:
                read = partial(self._finder.below, directory, after, SOME)
                entries = self._finder.consistently(read)
                if not entries:
                    break
                below = {ino for _, ino, mode in entries if stat.S_ISDIR(mode)}
                left += below - directories  # one that is moved meanwhile may be met twice
                directories |= below
                yield [ino for _, ino, _ in entries]
                after = entries[-1][0]

    # -------------------------------------------------------------- answers

    def count(self) -> int:
        """How many files there are.

        Raises:
            FsError: the index could not be read.
        """
        known, finder = self._compiled, self._finder
        if not self._is_plain:
            return sum(self.pages((), lambda _page, found: len(found)))
        total = 0
        for after in range(0, finder.consistently(finder.last_inode), SPAN):
            read = partial(finder.count, after, SPAN, known.where, known.values)
            total += finder.consistently(read)
        return total

    def groups(self, columns: Columns) -> list[Row]:
        """The values of a field, each with the number of files and their bytes, the most first.

        Raises:
            UsageError: there are too many.
            FsError: the index could not be read.
        """
        sums: dict[Value, list[int]] = {}
        skip = len(self._compiled.columns)

        def finish(page: Page, found: list[Found]) -> list[tuple[Value, int, int]]:
            rows = columns.of(page, found, skip)
            return [(row[0], 1, _bytes_of(one)) for row, one in zip(rows, found, strict=True)]

        by_sql = self._is_plain and columns.sql
        for values in self._sums(columns.sql[0]) if by_sql else self.pages(columns.sql, finish):
            for value, files, size in values:
                counted = sums.setdefault(value, [0, 0])
                counted[0] += files
                counted[1] += size
            if len(sums) > MOST_GROUPS:
                raise UsageError(f"there are more than {MOST_GROUPS:,} groups; group by less")
        rows: list[Row] = [[value, files, size] for value, (files, size) in sums.items()]
        rows.sort(key=lambda row: (_order(row[1], down=True), _order(row[0])))
        return rows[: self._request.limit or None]

    def _sums(self, column: str) -> Iterator[list[tuple[Value, int, int]]]:
        known, finder = self._compiled, self._finder
        selected = column.replace(NOW, str(self._request.now))
        for after in range(0, finder.consistently(finder.last_inode), SPAN):
            read = partial(finder.sums, after, SPAN, selected, known.where, known.values)
            found = finder.consistently(read)
            yield [(plain(value), files, size) for value, files, size in found]

    @property
    def _is_plain(self) -> bool:
        """Whether SQL alone answers, range by range."""
        return self._compiled.rest is None and self._needle is None and self._start == ROOT

    def rows(self, columns: Columns) -> Iterator[list[Row]]:
        """The rows, some at a time, as they are asked for.

        Raises:
            UsageError: too many would have to be sorted.
            FsError: the index could not be read.
        """
        request, skip = self._request, len(self._compiled.columns)
        if request.sort:
            yield from self._sorted(columns)
            return
        left = request.limit or UNLIMITED

        def finish(page: Page, found: list[Found]) -> list[Row]:
            return columns.of(page, found[:left], skip)

        for rows in self.pages(columns.sql, finish):
            yield rows
            left -= len(rows)
            if not left:
                return

    def _sorted(self, columns: Columns) -> Iterator[list[Row]]:
        """Only as many are kept as are wanted: what is to be shown of them is found at the end."""
        request, skip = self._request, len(self._compiled.columns)
        by = columns_of([request.sort])
        most = request.limit or MOST_SORTED
        kept: list[tuple[Any, Found]] = []

        def finish(page: Page, found: list[Found]) -> list[tuple[Any, Found]]:
            down = request.descending
            values = by.of(page, found, skip)
            return [
                (_order(row[0], down=down), one) for row, one in zip(values, found, strict=True)
            ]

        order = ""
        if self._is_plain and request.limit and by.sql:
            down = " DESC" if request.descending else ""
            order = f"{by.sql[0]} IS NULL, {by.sql[0]}{down} LIMIT {request.limit}"
        for rows in self.pages((*by.sql, *columns.sql), finish, order):
            kept += rows
            if not request.limit and len(kept) > MOST_SORTED:
                raise UsageError(f"more than {MOST_SORTED:,} rows are to be sorted; add --limit")
            if len(kept) > 2 * most + SPAN:
                kept = _first(kept, most, down=request.descending)
        kept = _first(kept, most, down=request.descending)
        skip += len(by.sql)
        for at in range(0, len(kept), SOME):
            some = [one for _, one in kept[at : at + SOME]]
            yield self._finder.consistently(partial(self._shown, columns, some, skip))

    def _shown(self, columns: Columns, some: Sequence[Found], skip: int) -> list[Row]:
        page = Page(self._world, some)
        return columns.of(page, some, skip)

    def explanation(self) -> list[str]:
        """How the rows are read, for people."""
        known = self._compiled
        above = os.fsdecode(self._above)
        if self._needle is not None:
            way = f"by the index of {self._needle[0][0]}"
        elif self._request.top != ROOT:
            way = f"by the directories below {above}"
        elif self._start != ROOT:
            way = "by the directories below the one that the path begins with"
        else:
            way = f"all inodes, {SPAN:,} numbers at a time"
        lines = [f"rows: {way}", f"SQL: {known.where}"]
        if known.values:
            marks = sum(column.count("?") for column in known.columns)
            lines.append(f"values: {', '.join(map(repr, known.values[marks:]))}")
        if known.rest is not None:
            lines.append("in Python: the names, paths, pins or reads of the rows that are left")
        return lines


def _order(value: Value, *, down: bool = False) -> tuple[bool, bool, Any]:
    """What values of several types are sorted by: numbers, texts, and what is not known last."""
    return (value is None) != down, isinstance(value, str), 0 if value is None else value


def _first(rows: list[tuple[Any, Found]], most: int, *, down: bool) -> list[tuple[Any, Found]]:
    return sorted(rows, key=lambda one: one[0], reverse=down)[:most]


def _bytes_of(row: Found) -> int:
    return row.size if stat.S_ISREG(row.mode) else 0


def find_to(request: FindRequest, stream: int, checkpoints: int) -> dict[str, Any]:
    """Answer a query in a process beside the daemon; rows go to a connection.

    ``checkpoints`` is the descriptor that `Index.checkpoint_for_snapshot` returned. Returns the
    number of rows, or what was asked for instead.

    Raises:
        BadExpression: the expression is none.
        UsageError: there is no such field, or too much would have to be kept in memory.
        FsError: the index could not be read.
        OSError: there is no room for a copy of the index, where all must be of one moment.
    """
    with no_collector(), closing(Stream(stream)) as client:
        if not request.consistent:
            return answer(request, request.index, checkpoints, client.send)
        return of_one_moment(
            request.index,
            checkpoints,
            lambda index, counters, rows: answer(request, index, counters, rows.add),
            client.send_lines,
        )


def answer(request: FindRequest, index: Path, checkpoints: int, emit: Emit) -> dict[str, Any]:
    """Answer a query of an index, page by page; rows go to ``emit``.

    Raises:
        As `find_to`, but for OSError.
    """
    with closing(Finder(index, checkpoints, fits)) as finder:
        query = Find(request, finder)
        columns = columns_of([request.group_by] if request.group_by else request.columns)
        words = [condition.field.text for condition in leaves(parse(request.expression))]
        query.check_facts([*words, *request.columns])
        query.prepare()
        if request.explain:
            return {"explanation": query.explanation()}
        if request.count:
            return {"count": query.count()}
        total = 0
        parts = [query.groups(columns)] if request.group_by else query.rows(columns)
        for rows in parts:
            emit(rows)
            total += len(rows)
        return {"rows": total}
