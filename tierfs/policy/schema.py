"""Declarations of the keys of a mapping, which drive reading, messages, defaults and JSON Schema.

A `Schema` is a tuple of fields, and each `Field` has a reader that turns one node into a Python
value or says what is wrong with it. A schema is a reader itself: schemas nest. Reading one gives a
`Record`. Readers of single values begin with `scalar_text` or `string_text`. JSON Schema is written
as draft 7, which editors support best.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar, cast

from tierfs.policy.diagnostics import START, Diagnostics, Position, did_you_mean, quote
from tierfs.policy.yaml import Document, Entry, Mapping, Node, Scalar, Sequence

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Absent(Enum):
    REQUIRED = auto()


REQUIRED = _Absent.REQUIRED
"""The default of a field that has none."""

QUOTE_IT = "put the value in quotes"


class BadValue(Exception):
    """What a reader raises: ``message`` continues a sentence that begins with the key."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Reader(Protocol[T_co]):
    """Turns a node into what it means."""

    def read(self, node: Node, diagnostics: Diagnostics) -> T_co:
        """The meaning of ``node``; smaller mistakes inside it go to ``diagnostics``.

        Raises:
            BadValue: it has none.
        """

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of what `read` accepts, as far as one can say it."""


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
    """What a schema read, each value with the type of its field."""

    position: Position
    values: dict[str, object]
    positions: dict[str, Position]

    def __getitem__(self, field: Field[T]) -> T:
        """The field's value or default; meant for when there are no mistakes left."""
        return cast("T", self.values.get(field.name, field.default))

    def get(self, field: Field[T]) -> T | None:
        """The field's value, or None when it was not given or is wrong."""
        return cast("T | None", self.values.get(field.name))

    def given(self, field: Field[Any]) -> bool:
        """Whether the field stands in the file, right or wrong."""
        return field.name in self.positions

    def position_of(self, field: Field[Any]) -> Position:
        """Where the field's value stands, or the mapping when it was not given."""
        return self.positions.get(field.name, self.position)


EMPTY = Record(START, {}, {})
"""The default of a nested schema: all of its own defaults."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The keys of one mapping; ``name`` is how messages call it."""

    name: str
    fields: tuple[Field[Any], ...]

    def read(self, node: Node, diagnostics: Diagnostics) -> Record:
        """The record in ``node``; every mistake inside it goes to ``diagnostics``.

        Raises:
            BadValue: ``node`` is not a mapping.
        """
        if not isinstance(node, Mapping):
            raise BadValue("must hold keys of its own, each with a value")
        record = Record(node.position, {}, {})
        known = {field.name: field for field in self.fields}
        present: set[str | None] = set()
        for entry in node.entries:
            if entry.key in known:
                _read_entry(known[entry.key], entry, record, diagnostics)
                present.add(entry.key)
            else:
                meant = did_you_mean(entry.key, known)
                hint = f'did you mean "{meant}"?' if meant else f"known keys: {', '.join(known)}"
                message = f"unknown key {quote(entry.key)} in {self.name}"
                diagnostics.add(entry.position, message, hint)
                # So that a misspelt key is not reported as missing as well.
                present.add(meant)
        for field in self.fields:
            if field.default is REQUIRED and field.name not in present:
                hint = f'add a line such as "{field.name}: {field.example}"'
                message = f'"{field.name}" is missing from {self.name}'
                diagnostics.add(node.position, message, hint)
        return record

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of the mapping."""
        properties = {}
        for field in self.fields:
            accepted = field.reader.json_schema()
            # Draft 7 ignores what stands beside a $ref.
            accepted = {"allOf": [accepted]} if "$ref" in accepted else accepted
            properties[field.name] = {"description": field.meaning, **accepted}
        required = [field.name for field in self.fields if field.default is REQUIRED]
        return {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }


def read_node(reader: Reader[T], node: Node, diagnostics: Diagnostics) -> T:
    """What ``reader`` makes of ``node``, which must not be empty.

    Raises:
        BadValue: nothing.
    """
    if isinstance(node, Scalar) and node.empty:
        raise BadValue("has no value")
    return reader.read(node, diagnostics)


def read_document(schema: Schema, document: Document) -> Record:
    """The record that a whole file holds; its mistakes go to the document's diagnostics.

    Raises:
        ConfigError: the file is not a mapping, so there is nothing to read.
    """
    try:
        return schema.read(document.root, document.diagnostics)
    except BadValue as exc:
        hint = 'write one "key: value" on each line'
        message = f"{schema.name} {exc.message}"
        document.diagnostics.add(document.root.position, message, hint)
        raise document.diagnostics.error() from exc


def _read_entry(field: Field[Any], entry: Entry, record: Record, diagnostics: Diagnostics) -> None:
    record.positions[field.name] = entry.value.position
    try:
        record.values[field.name] = read_node(field.reader, entry.value, diagnostics)
    except BadValue as exc:
        hint = exc.hint or f'write, for example, "{field.name}: {field.example}"'
        empty = isinstance(entry.value, Scalar) and entry.value.empty
        if empty and field.default is not REQUIRED:
            hint = "give it one, or remove the key"
        diagnostics.add(entry.value.position, f'"{field.name}" {exc.message}', hint)


def scalar_text(node: Node) -> str:
    """The text of a node that must be a single value.

    Raises:
        BadValue: it is a list or a mapping.
    """
    if isinstance(node, Scalar):
        return node.text
    kind = "a list" if isinstance(node, Sequence) else "a mapping"
    raise BadValue(f"must be a single value, not {kind}")


def string_text(node: Node, noun: str) -> str:
    """The text of a node that YAML takes for nothing else, such as a number or ``yes``.

    Raises:
        BadValue: it does, or it is a list or a mapping.
    """
    text = scalar_text(node)
    if isinstance(node, Scalar) and node.kind != "str":
        raise BadValue(f"must be {noun}, but YAML reads {quote(text)} as {node.kind}", QUOTE_IT)
    return text


def pattern_schema(pattern: str) -> dict[str, Any]:
    """The JSON Schema of a text that matches ``pattern``, perhaps with blanks around it.

    ``pattern`` is a regular expression of JSON Schema (ECMA-262) and of Python.
    """
    return {"type": "string", "pattern": rf"^\s*(?:{pattern})\s*$"}
