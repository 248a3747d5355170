"""YAML files to trees of nodes that know where in the file they stand.

The YAML is composed but never constructed into Python objects: a scalar stays the text that was
written (``010``, ``12:30`` and ``yes`` are not what YAML 1.1 makes of them), and no tag can name a
Python type. Aliases are refused, so a tree is no larger than its file.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import yaml

from tierfs.common.errors import ConfigError
from tierfs.common.units import KIB, format_size
from tierfs.policy.diagnostics import START, Diagnostics, Position, quote

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

MAX_BYTES = 256 * KIB
"""Far above any file a person writes, and parsed in a few seconds."""

MAX_DEPTH = 32
"""Levels of nesting; PyYAML recurses, so a bound keeps Python's own limit out of reach."""

CHECK_NAME = 'check the name ("tierfs init" writes a new volume file)'
"""What to do about a volume file that is not there."""

_BYTE_ORDER_MARK = "\ufeff"
# Double-quoted YAML can write both with an escape; system calls take neither.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_SCALAR_KINDS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "merge", "value"})


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written, without its quotes; ``kind`` is what YAML 1.1 takes it for."""

    position: Position
    text: str
    kind: str

    @property
    def empty(self) -> bool:
        """Whether nothing was written, or ``null`` or ``~``."""
        return self.kind == "null"


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes."""

    position: Position
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``key: value``; ``position`` is that of the key."""

    position: Position
    key: str
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """Entries with distinct keys, in the order of the file."""

    position: Position
    entries: tuple[Entry, ...]


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """A file's one YAML document, and the mistakes found in it so far."""

    root: Node
    diagnostics: Diagnostics


def load_document(path: Path, *, if_missing: str = CHECK_NAME) -> Document:
    """Read and parse the YAML file ``path``; ``if_missing`` is the hint when it is not there.

    Duplicate keys and foreign tags are noted in the document's ``diagnostics``, for the caller to
    add its own to and to raise.

    Raises:
        ConfigError: the file cannot be read, is not a regular file, is too large, is not UTF-8,
            is empty, or is not YAML.
    """
    return parse_document(path, _read_text(path, if_missing))


def parse_document(path: Path, text: str) -> Document:
    """Parse ``text``; ``path`` is named in messages.

    Raises:
        ConfigError: the text is empty or not YAML.
    """
    diagnostics = Diagnostics(path)
    try:
        root = _StrictLoader.compose_text(text)
    except yaml.reader.ReaderError as exc:
        message = f"the character {quote(chr(exc.character))} does not belong in YAML"
        diagnostics.add(_position_in(text, exc.position), message, "remove it")
        raise diagnostics.error() from exc
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        said = ", ".join(" ".join(part.split()) for part in _parser_message(exc))
        position = _position_of(mark) if mark else START
        if "flow" in said and "scalar" not in said:
            hint = _FLOW_HINT
        else:
            hint = next((one for sign, one in _PARSER_HINTS if sign in said), _OTHER_HINT)
        diagnostics.add(position, f"not valid YAML: {said}", hint)
        raise diagnostics.error() from exc
    if root is None:
        diagnostics.add(START, "the file is empty", 'write one "key: value" on each line')
        raise diagnostics.error()
    return Document(_node(root, diagnostics), diagnostics)


# ------------------------------------------------------------------ reading


def _read_text(path: Path, if_missing: str) -> str:
    try:
        data = _read_bytes(path)
    except OSError as exc:
        hint = "check the file and its filesystem"
        if isinstance(exc, FileNotFoundError):
            hint = if_missing
        elif isinstance(exc, NotADirectoryError):
            hint = "check the directories in the name"
        elif isinstance(exc, PermissionError):
            hint = "run as a user who may read it, or change its mode or owner"
        raise ConfigError(f"{path}: cannot be read: {exc.strerror or exc}; {hint}") from exc
    except ValueError as exc:  # a NUL byte or a surrogate in the name
        message = f"cannot be a file name: {exc}"
        raise ConfigError(f"{quote(str(path))}: {message}; check the name") from exc
    try:
        return data.decode().removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as exc:
        diagnostics = Diagnostics(path)
        good = data[: exc.start].decode()
        message = f"byte {data[exc.start]:#04x} is not UTF-8 text"
        diagnostics.add(_position_in(good, len(good)), message, "save the file in UTF-8")
        raise diagnostics.error() from exc


def _read_bytes(path: Path) -> bytes:
    # Without O_NONBLOCK opening a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
        file = os.fdopen(descriptor, "rb")  # which refuses a directory, and leaves it open
    except BaseException:
        os.close(descriptor)
        raise
    with file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        limit = format_size(MAX_BYTES)
        raise ConfigError(f"{path}: is larger than {limit}; check that it is the YAML file")
    return data


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise ConfigError(f"{path}: is {kind}; name the YAML file itself")


# ------------------------------------------------------------------ parsing


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, without aliases and of bounded depth."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    @classmethod
    def compose_text(cls, text: str) -> yaml.Node | None:
        """The node graph of the one document in ``text``; None when there is nothing in it.

        Raises:
            yaml.YAMLError: ``text`` is not such a document.
        """
        loader = cls(text)
        try:
            return loader.get_single_node()
        except (ValueError, OverflowError) as exc:
            # PyYAML hands escapes such as "\\UFFFFFFFF" to chr(), huge %YAML versions to int().
            message = "found an escape or number out of range"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=loader.get_mark()) from exc
        finally:
            loader.dispose()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As PyYAML's, but refusing aliases and deep nesting."""
        if self.check_event(yaml.AliasEvent):
            self._refuse("an alias (*name) is not supported")
        if self._depth == MAX_DEPTH:
            self._refuse(f"nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, problem: str) -> None:
        mark = self.current_event.start_mark
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


_PARSER_HINTS = (
    ("'\\t'", "indent with spaces, not with tabs"),
    (
        "mapping values are not allowed",
        'check the indentation; put a value that holds ": " in quotes',
    ),
    ("could not find expected ':'", 'write "key: value", with a space after the colon'),
    ("cannot start any token", "put a value that begins with this character in quotes"),
    ("undefined alias", "put a value that begins with * in quotes"),
    ("alias", "write the value out; put one that begins with * in quotes"),
    ("another document", 'keep one document to a file; remove the line "---"'),
    ("duplicate anchor", "put a value that begins with & in quotes"),
    ("escape", 'double the backslash, or use single quotes, in which "\\" means itself'),
    ("quoted scalar", "close the quotes"),
    ("block scalar", "put a value that begins with > or | in quotes"),
    ("incompatible YAML document", "remove the line that begins with %YAML"),
    ("nested", "flatten the file"),
)
"""What to try, by a part of PyYAML's message; the first that fits."""

_FLOW_HINT = (
    "close every [ and {, and put a value that begins with one (such as [::1]:9469) in quotes"
)
_OTHER_HINT = "check the quotes, brackets and indentation here and on the line above"


def _parser_message(error: yaml.MarkedYAMLError) -> Iterator[str]:
    if error.context and error.context_mark:
        yield f"{error.context} that starts on line {error.context_mark.line + 1}"
    elif error.context:
        yield error.context
    if error.problem:
        yield error.problem


# ------------------------------------------------------------------ nodes


def _node(node: yaml.Node, diagnostics: Diagnostics) -> Node:
    position = _position_of(node.start_mark)
    if isinstance(node, yaml.MappingNode):
        _require_tag(node, {"map"}, diagnostics)
        return Mapping(position, _entries(node, diagnostics))
    if isinstance(node, yaml.SequenceNode):
        _require_tag(node, {"seq"}, diagnostics)
        return Sequence(position, tuple(_node(item, diagnostics) for item in node.value))
    _require_tag(node, _SCALAR_KINDS, diagnostics)
    text = str(node.value)
    if _UNUSABLE.search(text):
        diagnostics.add(position, f"{quote(text)} holds a character that no name can", "remove it")
        # With a stand-in, so that checks of file names that follow do not trip over it.
        text = _UNUSABLE.sub("?", text)
    kind = node.tag.removeprefix(_TAG)
    return Scalar(position, text, kind if kind in _SCALAR_KINDS else "str")


def _entries(node: yaml.MappingNode, diagnostics: Diagnostics) -> tuple[Entry, ...]:
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key, value = _node(key_node, diagnostics), _node(value_node, diagnostics)
        if not isinstance(key, Scalar):
            diagnostics.add(key.position, "a key must be a single word", 'write "key: value"')
        elif (first := entries.get(key.text)) is not None:
            message = f"{quote(key.text)} is given twice, first on line {first.position.line}"
            diagnostics.add(key.position, message, "keep one of the two")
        else:
            entries[key.text] = Entry(key.position, key.text, value)
    return tuple(entries.values())


def _require_tag(node: yaml.Node, kinds: Collection[str], diagnostics: Diagnostics) -> None:
    """Refuse the tags that would make Python objects, and those that contradict their value."""
    if node.tag.removeprefix(_TAG) not in kinds:
        message = f"the tag {quote(node.tag.replace(_TAG, '!!'))} is not supported here"
        hint = "remove it; put a value that begins with ! in quotes"
        diagnostics.add(_position_of(node.start_mark), message, hint)


def _position_of(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _position_in(text: str, index: int) -> Position:
    """The line and column of the character at ``index``."""
    before = text[:index]
    return Position(before.count("\n") + 1, index - before.rfind("\n"))
