"""Tables that say which keys a mapping may have, and the records that reading one gives.

A table is data: its fields drive the checks, the messages and the defaults. A reader turns one
located value into a Python value or says what is wrong with it. A table is a reader: tables nest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar, cast

from tierfs.policy.document import Document, Entry, Mapping, Scalar, Value
from tierfs.policy.problems import START, Place, Problems, did_you_mean, quote

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Absent(Enum):
    REQUIRED = auto()


REQUIRED = _Absent.REQUIRED
"""The default of a field that has none."""


class BadValue(Exception):
    """What a reader raises: ``what`` continues a sentence that begins with the key."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class Reader(Protocol[T_co]):
    """Turns a value into what it means."""

    def read(self, value: Value, problems: Problems) -> T_co:
        """The meaning of ``value``; smaller mistakes inside it go to ``problems``.

        Raises:
            BadValue: it has none.
        """


@dataclass(frozen=True, slots=True)
class Field(Generic[T_co]):
    """One key: how its value is read, an example for hints, and what holds when it is left out.

    ``meaning`` says what the key is for, and ``unset`` what holds without it, both for people.
    """

    name: str
    reader: Reader[T_co]
    example: str
    default: T_co | _Absent = REQUIRED
    meaning: str = ""
    unset: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What a table read, each value with the type of its field."""

    place: Place
    values: dict[str, object]
    places: dict[str, Place]

    def __getitem__(self, field: Field[T]) -> T:
        """The field's value or default; meant for when there are no problems left."""
        return cast("T", self.values.get(field.name, field.default))

    def good(self, field: Field[T]) -> T | None:
        """The field's value, or None when it was not given or is wrong."""
        return cast("T | None", self.values.get(field.name))

    def given(self, field: Field[Any]) -> bool:
        """Whether the field stands in the file, right or wrong."""
        return field.name in self.places

    def place_of(self, field: Field[Any]) -> Place:
        """Where the field's value stands, or the mapping when it was not given."""
        return self.places.get(field.name, self.place)


NOTHING_GIVEN = Record(START, {}, {})
"""The default of a nested table: all of its own defaults."""


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of one mapping; ``name`` is how messages call it."""

    name: str
    fields: tuple[Field[Any], ...]

    def read(self, value: Value, problems: Problems) -> Record:
        """The record in ``value``; every mistake inside it goes to ``problems``.

        Raises:
            BadValue: ``value`` is not a mapping.
        """
        if not isinstance(value, Mapping):
            raise BadValue("must hold keys of its own, each with a value")
        record = Record(value.place, {}, {})
        known = {field.name: field for field in self.fields}
        present: set[str | None] = set()
        for entry in value.entries:
            if entry.key in known:
                _read_entry(known[entry.key], entry, record, problems)
                present.add(entry.key)
            else:
                present.add(self._refuse(entry, problems))
        self._require_all(value.place, present, problems)
        return record

    def _refuse(self, entry: Entry, problems: Problems) -> str | None:
        """Report an unknown key; returns the key that was probably meant."""
        names = [field.name for field in self.fields]
        meant = did_you_mean(entry.key, names)
        hint = f'did you mean "{meant}"?' if meant else f"known keys: {', '.join(names)}"
        problems.add(entry.place, f"unknown key {quote(entry.key)} in {self.name}", hint)
        return meant

    def _require_all(self, place: Place, present: set[str | None], problems: Problems) -> None:
        for field in self.fields:
            # A key that is there but misspelt was reported once already.
            if field.default is REQUIRED and field.name not in present:
                hint = f'add a line such as "{field.name}: {field.example}"'
                problems.add(place, f'"{field.name}" is missing from {self.name}', hint)


def _read_entry(field: Field[Any], entry: Entry, record: Record, problems: Problems) -> None:
    record.places[field.name] = entry.value.place
    try:
        record.values[field.name] = _read(field, entry.value, problems)
    except BadValue as exc:
        hint = exc.hint or f'write, for example, "{field.name}: {field.example}"'
        problems.add(entry.value.place, f'"{field.name}" {exc.what}', hint)


def _read(field: Field[T], value: Value, problems: Problems) -> T:
    if isinstance(value, Scalar) and value.empty and field.default is not REQUIRED:
        raise BadValue("has no value", "give it one, or remove the key")
    return read_value(field.reader, value, problems)


def read_value(reader: Reader[T], value: Value, problems: Problems) -> T:
    """What ``reader`` makes of ``value``, which must not be empty.

    Raises:
        BadValue: nothing.
    """
    if isinstance(value, Scalar) and value.empty:
        raise BadValue("has no value")
    return reader.read(value, problems)


def read_document(table: Table, document: Document) -> Record:
    """The record that a whole file holds; its mistakes go to the document's problems.

    Raises:
        ConfigError: the file is not a mapping, so there is nothing to read.
    """
    try:
        return table.read(document.root, document.problems)
    except BadValue as exc:
        hint = 'write one "key: value" on each line'
        document.problems.add(document.root.place, f"{table.name} {exc.what}", hint)
        raise document.problems.error() from exc
