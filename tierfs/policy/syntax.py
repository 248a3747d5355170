"""The YAML parser, narrowed to what a configuration file needs; its complaints in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import yaml

from tierfs.policy.problems import START, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 32
"""Levels of nesting; PyYAML recurses, so a bound keeps Python's own limit out of reach."""

Explanation: TypeAlias = tuple[Place, str, str]
"""Place, what, hint: the arguments of `Problems.add`."""

_HINTS = (
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
_FLOW_HINT = (
    "close every [ and {, and put a value that begins with one (such as [::1]:9469) in quotes"
)
_OTHER_HINT = "check the quotes, brackets and indentation here and on the line above"


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, without aliases and of bounded depth."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    @classmethod
    def compose(cls, text: str) -> yaml.Node | None:
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
        """As PyYAML's, but refusing what `StrictLoader` refuses."""
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


def explain(error: yaml.MarkedYAMLError) -> Explanation:
    """What the parser said, where, and what to try."""
    mark = error.problem_mark or error.context_mark
    place = Place(mark.line + 1, mark.column + 1) if mark else START
    said = ", ".join(" ".join(part.split()) for part in _said(error))
    return place, f"not valid YAML: {said}", _hint(said)


def _said(error: yaml.MarkedYAMLError) -> Iterator[str]:
    if error.context and error.context_mark:
        yield f"{error.context} that starts on line {error.context_mark.line + 1}"
    elif error.context:
        yield error.context
    if error.problem:
        yield error.problem


def _hint(said: str) -> str:
    if "flow" in said and "scalar" not in said:
        return _FLOW_HINT
    return next((hint for sign, hint in _HINTS if sign in said), _OTHER_HINT)
