"""Rows with columns, as commands that find files print them: lines, a table, JSON, CSV, Parquet."""

from __future__ import annotations

import csv
import grp
import io
import json
import os
import pwd
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import click

from tierfs.cli.messages import aligned
from tierfs.common.errors import UsageError, printable
from tierfs.common.units import SECOND, format_duration, format_size
from tierfs.query.fields import Shape

Format: TypeAlias = Literal["table", "json", "null", "csv", "jsonl", "parquet"]

ALIGNED_TOGETHER: Final = 1000
"""Rows of a table whose columns have one width."""

BATCH: Final = 20_000
"""Rows of a Parquet file that are in memory at a time."""

SUFFIXES: Final[dict[str, Format]] = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv"}

_RIGHT: Final = frozenset({"number", "real", "size", "length"})


class Column(NamedTuple):
    """What a column is called, and what is in it."""

    name: str
    shape: Shape


Row: TypeAlias = Sequence[Any]


class Writer(ABC):
    """Writes rows, some at a time: each time at once, since ``stream`` may have no buffer."""

    def __init__(self, columns: Sequence[Column], stream: io.BufferedWriter) -> None:
        self.columns = columns
        self.stream = stream

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Write some rows."""

    def close(self) -> None:  # noqa: B027 - most have nothing left
        """Write what is left."""

    def text(self, text: str) -> None:
        """Write text; what is not UTF-8 as the bytes that it was."""
        self.stream.write(text.encode("utf-8", "surrogateescape"))


class Table(Writer):
    """Lines for people: of one column as they are, of several with headings."""

    def __init__(self, columns: Sequence[Column], stream: io.BufferedWriter) -> None:
        super().__init__(columns, stream)
        self._waiting: list[tuple[str, ...]] = []
        if len(columns) > 1:
            self._waiting.append(tuple(column.name for column in columns))

    def write(self, rows: Sequence[Row]) -> None:
        """As `Writer`."""
        if len(self.columns) == 1:
            shape = self.columns[0].shape
            self.text("".join(f"{for_people(value, shape)}\n" for (value,) in rows))
            return
        for row in rows:
            self._waiting.append(
                tuple(
                    for_people(value, column.shape)
                    for value, column in zip(row, self.columns, strict=True)
                )
            )
            if len(self._waiting) > ALIGNED_TOGETHER:
                self.close()

    def close(self) -> None:
        """As `Writer`."""
        numbers = 0
        for column in reversed(self.columns):
            if column.shape not in _RIGHT:
                break
            numbers += 1
        lines = aligned(self._waiting, numbers=numbers) if self._waiting else ()
        self.text("".join(f"{line}\n" for line in lines))
        self._waiting = []


class Null(Writer):
    """The first column alone, each value with a NUL byte behind it, as it is."""

    def write(self, rows: Sequence[Row]) -> None:
        """As `Writer`."""
        shown = ("" if row[0] is None else str(row[0]) for row in rows)
        self.stream.write(b"".join(os.fsencode(value) + b"\0" for value in shown))


class JsonLines(Writer):
    """A JSON object for each row, a line each."""

    def write(self, rows: Sequence[Row]) -> None:
        """As `Writer`."""
        self.text("".join(json.dumps(self.record(row)) + "\n" for row in rows))

    def record(self, row: Row) -> dict[str, Any]:
        """A row as a JSON object."""
        return {
            column.name: for_programs(value, column.shape)
            for value, column in zip(row, self.columns, strict=True)
        }


class JsonObject(JsonLines):
    """One JSON object with a list of rows."""

    def __init__(self, columns: Sequence[Column], stream: io.BufferedWriter) -> None:
        super().__init__(columns, stream)
        self._separator = '{"rows": [\n'

    def write(self, rows: Sequence[Row]) -> None:
        """As `Writer`."""
        if rows:
            self.text(self._separator + ",\n".join(json.dumps(self.record(row)) for row in rows))
            self._separator = ",\n"

    def close(self) -> None:
        """As `Writer`."""
        self.text("\n]}\n" if self._separator == ",\n" else '{"rows": []}\n')


class Csv(Writer):
    """Comma-separated values with a heading (RFC 4180)."""

    def __init__(self, columns: Sequence[Column], stream: io.BufferedWriter) -> None:
        super().__init__(columns, stream)
        self._rows([[column.name for column in columns]])

    def write(self, rows: Sequence[Row]) -> None:
        """As `Writer`."""
        self._rows(
            [[self._cell(*cell) for cell in zip(row, self.columns, strict=True)] for row in rows]
        )

    @staticmethod
    def _cell(value: Any, column: Column) -> Any:  # noqa: ANN401 - of any column
        shown = for_programs(value, column.shape)
        return json.dumps(shown) if isinstance(shown, dict) else shown

    def _rows(self, rows: Sequence[Row]) -> None:
        lines = io.StringIO()
        csv.writer(lines).writerows(rows)
        self.text(lines.getvalue())


class Parquet(Writer):
    """A Parquet file. What is a mapping becomes a column for each of its keys."""

    def __init__(self, columns: Sequence[Column], stream: io.BufferedWriter) -> None:
        super().__init__(columns, stream)
        self._arrow, self._parquet = (
            pyarrow_module(name) for name in ("pyarrow", "pyarrow.parquet")
        )
        self._waiting: list[Row] = []
        # Which columns there are, and their types, is known behind the last row: until then each
        # batch is in this file, a stream of Arrow of its own with the columns that it has.
        self._batches = import_module("tempfile").TemporaryFile()  # slow to load, too
        self._fixed = {
            column.name: self._type(column.shape) for column in columns if column.shape != "map"
        }
        self._widest: dict[str, int] = {}
        """Where values tell the type of a column: its place in `_kinds`."""
        arrow = self._arrow
        self._kinds = (arrow.null(), arrow.int64(), arrow.float64(), arrow.string())

    def write(self, rows: Sequence[Row]) -> None:
        """As `Writer`."""
        self._waiting += rows
        if len(self._waiting) >= BATCH:
            self._keep()

    def close(self) -> None:
        """As `Writer`."""
        if self._waiting:
            self._keep()
        names = [*self._fixed, *sorted(self._widest.keys() - self._fixed.keys())]
        found = {name: self._kinds[place or -1] for name, place in self._widest.items()}
        kinds = self._fixed | found
        schema = self._arrow.schema([(name, kinds[name] or self._arrow.string()) for name in names])
        end = self._batches.tell()
        self._batches.seek(0)
        with (
            self._batches,
            self._parquet.ParquetWriter(self.stream, schema) as writer,
        ):
            while self._batches.tell() < end:
                with self._arrow.ipc.open_stream(self._batches) as batch:
                    writer.write_table(self._completed(batch.read_all(), schema))

    def _keep(self) -> None:
        """Put what waits into the file."""
        arrays: dict[str, Any] = {}
        mappings: list[Sequence[dict[str, Any] | None]] = []
        for column, values in zip(self.columns, zip(*self._waiting, strict=True), strict=True):
            if column.shape == "map":
                mappings.append(values)
            else:
                arrays[column.name] = self._array(column.name, self._fixed[column.name], values)
        for mapping in mappings:
            for name in dict.fromkeys(chain.from_iterable(filter(None, mapping))):
                if name not in arrays:
                    some = [value.get(name) if value else None for value in mapping]
                    arrays[name] = self._array(name, None, some)
        # A table without a column would have no row.
        table = self._arrow.table(arrays or {"": self._arrow.nulls(len(self._waiting))})
        with self._arrow.ipc.new_stream(self._batches, table.schema) as stream:
            stream.write_table(table)
        self._waiting = []

    def _array(self, name: str, kind: Any, values: Sequence[Any]) -> Any:  # noqa: ANN401 - pyarrow has no types
        """A column; ``kind`` None: of the narrowest type that has all values."""
        arrow = self._arrow
        if kind is None:
            place = max((_PLACES.get(one, 3) for one in set(map(type, values))), default=0)
            self._widest[name] = max(self._widest.get(name, 0), place)
            kind = self._kinds[place]
        if kind == arrow.string():
            return self._texts(values)
        if kind == arrow.bool_():
            values = [None if value is None else bool(value) for value in values]
        elif kind == arrow.float64():  # Arrow would refuse integers that it has to round
            values = [None if value is None else float(value) for value in values]
        return arrow.array(values, kind)

    def _texts(self, values: Sequence[Any]) -> Any:  # noqa: ANN401 - pyarrow has no types
        string = self._arrow.string()
        try:
            return self._arrow.array(values, string)
        except (TypeError, ValueError):  # not all of them are texts, or UTF-8 as Parquet wants them
            return self._arrow.array(
                [None if one is None else _utf_8(one) for one in values], string
            )

    def _completed(self, batch: Any, schema: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
        """A batch with all columns, of the types that they have in the end."""
        columns = []
        for field in schema:
            if field.name not in batch.column_names:
                columns.append(self._arrow.nulls(len(batch), field.type))
                continue
            column = batch.column(field.name)
            if column.type == field.type:
                columns.append(column)
            elif field.type == self._arrow.string():
                columns.append(self._texts(column.to_pylist()))
            else:
                columns.append(column.cast(field.type, safe=False))
        return self._arrow.table(columns, schema=schema)

    def _type(self, shape: Shape) -> Any:  # noqa: ANN401 - pyarrow has no types
        """None: the values tell."""
        arrow = self._arrow
        if shape == "time":
            return arrow.timestamp("ns", tz="UTC")
        if shape in {"number", "size", "length", "mode", "user", "group"}:
            return arrow.int64()
        if shape == "fact":
            return None
        return {"flag": arrow.bool_(), "real": arrow.float64()}.get(shape, arrow.string())


_PLACES: Final = {NoneType: 0, int: 1, float: 2}
"""Of a value's type in `Parquet._kinds`; of others: the last."""


def _utf_8(value: object) -> str:
    """A text; what is not UTF-8 in it with backslashes."""
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


_WRITERS: Final[dict[Format, type[Writer]]] = {
    "table": Table,
    "json": JsonObject,
    "null": Null,
    "csv": Csv,
    "jsonl": JsonLines,
    "parquet": Parquet,
}


def pyarrow_module(name: str) -> ModuleType:
    """A module of pyarrow.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"Parquet needs pyarrow ({error}); install it: pip install 'tierfs[parquet]'"
        ) from None


def format_of(output: Path) -> Format:
    """The format of a file, by its name.

    Raises:
        UsageError: its name does not tell.
    """
    try:
        return SUFFIXES[output.suffix]
    except KeyError:
        raise UsageError(f"{output}: end its name in {', '.join(SUFFIXES)}") from None


@contextmanager
def writing(columns: Sequence[Column], how: Format, output: Path | None) -> Iterator[Writer]:
    """A writer to ``output``, or to standard output; a file appears when it is complete.

    Raises:
        UsageError: the file cannot be written, or needs a library that is not installed.
    """
    if output is None:
        sys.stdout.flush()
        stream = sys.stdout.buffer
        writer = _WRITERS[how](columns, stream)  # type: ignore[arg-type]
        yield writer
        writer.close()
        stream.flush()
        return
    new = output.with_name(f".{output.name}.new")
    try:
        with new.open("wb") as file:
            writer = _WRITERS[how](columns, file)
            yield writer
            writer.close()
        new.replace(output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        new.unlink(missing_ok=True)


# ------------------------------------------------------------------ values


def for_programs(value: Any, shape: Shape) -> Any:  # noqa: ANN401 - of any column
    """A value for JSON and CSV: times in UTC (RFC 3339), lengths of time in seconds."""
    if value is None:
        return None
    if shape == "time":
        seconds, rest = divmod(int(value), SECOND)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"
    if shape == "length":
        return value / SECOND
    if shape == "mode":
        return f"{value:04o}"
    return bool(value) if shape == "flag" else value


def for_people(value: Any, shape: Shape) -> str:  # noqa: ANN401, PLR0911 - of any column
    """A value for a table; empty: not set, or not known."""
    if value is None:
        return ""
    if shape == "size":
        return format_size(value)
    if shape == "time":
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value // SECOND))
    if shape == "length":
        return format_duration(value)
    if shape in {"user", "group"}:
        return _account(shape, value)
    if shape == "flag":
        return "yes" if value else "no"
    if shape == "mode":
        return f"{value:04o}"
    if shape == "map":
        return " ".join(f"{key}={printable(str(one))}" for key, one in value.items())
    return printable(str(value))


@lru_cache(maxsize=4096)
def _account(kind: str, number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
    except (KeyError, OverflowError):
        return str(number)


def echo_lines(lines: Sequence[str]) -> None:
    """Print lines for people."""
    for line in lines:
        click.echo(printable(line))
