"""YAML text to values that know where in the file they stand.

The YAML is composed into a graph of nodes but never constructed into Python objects: a scalar stays
the text that was written (``010``, ``12:30`` and ``yes`` are not what YAML 1.1 makes of them), and
no tag can name a Python type. Aliases are refused, so a document is a tree no larger than its file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import yaml

from tierfs.policy.problems import START, Place, Problems, quote
from tierfs.policy.source import CHECK_NAME, place_of, read_source
from tierfs.policy.syntax import StrictLoader, explain

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

# Double-quoted YAML can name both by an escape; system calls take neither.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_SCALAR_KINDS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "merge", "value"})


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written, without its quotes; ``kind`` is what YAML 1.1 takes it for."""

    place: Place
    text: str
    kind: str

    @property
    def empty(self) -> bool:
        """Whether nothing was written, or ``null`` or ``~``."""
        return self.kind == "null"


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence of values."""

    place: Place
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``key: value``; ``place`` is that of the key."""

    place: Place
    key: str
    value: Value


@dataclass(frozen=True, slots=True)
class Mapping:
    """Entries with distinct keys, in the order of the file."""

    place: Place
    entries: tuple[Entry, ...]


Value: TypeAlias = Scalar | Listing | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """A file's one YAML document, and the problems found in it so far."""

    root: Value
    problems: Problems


def load_document(path: Path, *, if_missing: str = CHECK_NAME) -> Document:
    """Read and parse the YAML file ``path``; ``if_missing`` is the hint when it is not there.

    Duplicate keys and foreign tags are noted in the document's ``problems``, for the caller to add
    its own to and to raise.

    Raises:
        ConfigError: the file cannot be read, is empty, or is not YAML.
    """
    return parse_document(path, read_source(path, if_missing=if_missing))


def parse_document(path: Path, text: str) -> Document:
    """Parse ``text``; ``path`` is named in messages.

    Raises:
        ConfigError: the text is empty or not YAML.
    """
    problems = Problems(path)
    node = _compose(text, problems)
    if node is None:
        problems.add(START, "the file is empty", 'write one "key: value" on each line')
        raise problems.error()
    return Document(_value(node, problems), problems)


def _compose(text: str, problems: Problems) -> yaml.Node | None:
    """The node graph of ``text``, or a report of what the YAML parser had against it."""
    try:
        return StrictLoader.compose(text)
    except yaml.reader.ReaderError as exc:
        what = f"the character {quote(chr(exc.character))} does not belong in YAML"
        problem = place_of(text, exc.position), what, "remove it"
    except yaml.MarkedYAMLError as exc:
        problem = explain(exc)
    problems.add(*problem)
    raise problems.error()


def _value(node: yaml.Node, problems: Problems) -> Value:
    place = _place(node)
    if isinstance(node, yaml.MappingNode):
        _require_tag(node, {"map"}, problems)
        return Mapping(place, _entries(node, problems))
    if isinstance(node, yaml.SequenceNode):
        _require_tag(node, {"seq"}, problems)
        return Listing(place, tuple(_value(item, problems) for item in node.value))
    _require_tag(node, _SCALAR_KINDS, problems)
    return _scalar(node, place, problems)


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _require_tag(node: yaml.Node, kinds: Collection[str], problems: Problems) -> None:
    """Refuse the tags that would make Python objects, and those that contradict their value."""
    if node.tag.removeprefix(_TAG) not in kinds:
        what = f"the tag {quote(node.tag.replace(_TAG, '!!'))} is not supported here"
        hint = "remove it; put a value that begins with ! in quotes"
        problems.add(_place(node), what, hint)


def _scalar(node: yaml.Node, place: Place, problems: Problems) -> Scalar:
    text = str(node.value)
    if _UNUSABLE.search(text):
        problems.add(place, f"{quote(text)} holds a character that no name can", "remove it")
        # With a stand-in, so that checks of file names that follow do not trip over it.
        text = _UNUSABLE.sub("?", text)
    kind = node.tag.removeprefix(_TAG)
    return Scalar(place, text, kind if kind in _SCALAR_KINDS else "str")


def _entries(node: yaml.MappingNode, problems: Problems) -> tuple[Entry, ...]:
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key, value = _value(key_node, problems), _value(value_node, problems)
        if not isinstance(key, Scalar):
            problems.add(key.place, "a key must be a single word", 'write "key: value"')
        elif (first := entries.get(key.text)) is not None:
            what = f"{quote(key.text)} is given twice, first on line {first.place.line}"
            problems.add(key.place, what, "keep one of the two")
        else:
            entries[key.text] = Entry(key.place, key.text, value)
    return tuple(entries.values())
