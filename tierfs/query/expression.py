"""The text of an expression to a tree of tests.

``size > 1MiB and (user.label = mitosis or not pinned)``: tests, joined by ``and``, ``or``, ``not``
and parentheses; ``not`` binds closest, ``or`` least. What the fields and the values of a test are
is not known here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from tierfs.common.errors import UsageError
from tierfs.query.tree import All, Not, Some, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LENGTH: Final = 16 * 1024
"""Characters of an expression; a request of the control socket has room for four times as many."""

MAX_DEPTH: Final = 64
"""Levels of parentheses and ``not``: below Python's own limit, and that of SQLite (1000)."""

MAX_TESTS: Final = 200
"""Tests of an expression: SQLite's own limits are far away."""

KEYWORDS: Final = frozenset({"and", "or", "not", "in", "is", "set"})

COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<sign><=|>=|!=|[<>=(),])
      | "(?P<double>(?:[^"]|"")*)"
      | '(?P<single>(?:[^']|'')*)'
      | (?P<word>(?:\{[^{}\s]*\}|\[[^\]\s]+\]|\\.|[^\s()<>=!,"'])+)
    )""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A word, a quoted text or a sign; ``column`` is counted from 0."""

    kind: Literal["word", "text", "sign", "end"]
    text: str
    column: int

    def is_word(self, word: str) -> bool:
        """Whether it is this keyword, in capitals or not."""
        return self.kind == "word" and self.text.lower() == word


Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "in", "is set", ""]
"""The last is of a field that stands alone."""


class Condition(NamedTuple):
    """A field, how it is compared, and with what."""

    field: Token
    operator: Operator
    values: tuple[Token, ...]


Node: TypeAlias = Tree[Condition]


class BadExpression(UsageError):
    """An expression with a mistake: three lines, the last points at it."""


def mistake(expression: str, column: int, what: str, hint: str = "") -> BadExpression:
    """The error for a mistake at a column, counted from 0."""
    said = f"expression, column {column + 1}: {what}{f'; {hint}' if hint else ''}"
    line = " ".join(expression.replace("\n", " ").split("\t"))
    return BadExpression.of_lines([said, f"  {line}", f"  {' ' * column}^"])


def parse(expression: str) -> Node:
    """The tree of an expression; of an empty one that which always holds.

    Raises:
        BadExpression: it is none.
    """
    if len(expression) > MAX_LENGTH:
        raise BadExpression(f"an expression has at most {MAX_LENGTH} characters")
    return _Parser(expression).whole()


def _tokens(expression: str) -> list[Token]:
    found: list[Token] = []
    at = 0
    end = len(expression.rstrip())
    while at < end:
        match = _TOKEN.match(expression, at)
        if match is None:
            at += len(expression[at:]) - len(expression[at:].lstrip())
            character = expression[at]
            if character in "\"'":
                raise mistake(expression, at, "the quotes are not closed", f"add {character}")
            raise mistake(expression, at, f"{character!r} means nothing here", _hint(character))
        column = match.start(match.lastgroup or 0)
        if match.lastgroup == "sign":
            found.append(Token("sign", match["sign"], column))
        elif match.lastgroup == "word":
            found.append(Token("word", match["word"], column))
        else:
            quote = '"' if match.lastgroup == "double" else "'"
            text = match[match.lastgroup or 0].replace(2 * quote, quote)
            found.append(Token("text", text, column - 1))
        at = match.end()
    found.append(Token("end", "", end))
    return found


def _hint(character: str) -> str:
    return 'write "not" or "!="' if character == "!" else "put it in quotes"


class _Parser:
    """Goes through the tokens once."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = _tokens(expression)
        self._at = 0
        self._depth = 0
        self._tests = 0

    def whole(self) -> Node:
        """Everything."""
        if self._peek().kind == "end":
            return All(())
        found = self._joined("or", Some, lambda: self._joined("and", All, self._negated))
        left = self._peek()
        if left.kind == "end":
            return found
        if left.text == ")":
            raise self._mistake("there is no ( for this )", "remove it, or open it")
        hint = 'join tests by "and" or "or"'
        raise self._mistake(f"{left.text!r} does not continue the expression", hint)

    def _peek(self) -> Token:
        """What comes next."""
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _mistake(self, what: str, hint: str = "", token: Token | None = None) -> BadExpression:
        return mistake(self._expression, (token or self._peek()).column, what, hint)

    def _joined(
        self, word: str, kind: type[All[Condition] | Some[Condition]], part: Callable[[], Node]
    ) -> Node:
        parts = [part()]
        while self._peek().is_word(word):
            self._take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _negated(self) -> Node:
        token = self._peek()
        if not (token.is_word("not") or (token.kind, token.text) == ("sign", "(")):
            return self._test()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._mistake(f"it is nested deeper than {MAX_DEPTH} levels")
        self._take()
        found: Node
        if token.text == "(":
            found = self._joined("or", Some, lambda: self._joined("and", All, self._negated))
            if (self._peek().kind, self._peek().text) != ("sign", ")"):
                raise self._mistake("this ( is not closed", "add )", token)
            self._take()
        else:
            found = Not(self._negated())
        self._depth -= 1
        return found

    def _test(self) -> Node:
        field = self._take()
        if field.kind != "word" or field.text.lower() in KEYWORDS:
            what = "a test is missing" if field.kind == "end" else "a test begins with a field"
            raise self._mistake(what, 'such as "size > 1MiB"', field)
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise self._mistake(f"there are more than {MAX_TESTS} tests", token=field)
        operator = self._peek()
        if operator.kind == "sign" and operator.text in COMPARISONS:
            self._take()
            return Condition(field, operator.text, (self._value(field),))  # type: ignore[arg-type]
        if operator.is_word("in"):
            self._take()
            return Condition(field, "in", self._list(field))
        if operator.is_word("is"):
            return self._is_set(field)
        return Condition(field, "", ())

    def _value(self, field: Token) -> Token:
        value = self._take()
        if value.kind in {"sign", "end"}:
            hint = f'such as "{field.text} = ..."; put signs in quotes'
            raise self._mistake("a value is missing", hint, value)
        return value

    def _list(self, field: Token) -> tuple[Token, ...]:
        opened = self._take()
        if opened.text != "(":
            hint = f'such as "{field.text} in (a, b)"'
            raise self._mistake('"in" needs a list in parentheses', hint, opened)
        values = [self._value(field)]
        while self._peek().text == "," and self._peek().kind == "sign":
            self._take()
            values.append(self._value(field))
        if (self._peek().kind, self._peek().text) != ("sign", ")"):
            raise self._mistake("the list is not closed", "add )", opened)
        self._take()
        return tuple(values)

    def _is_set(self, field: Token) -> Node:
        self._take()
        negated = self._peek().is_word("not")
        if negated:
            self._take()
        if not self._peek().is_word("set"):
            raise self._mistake('"is" is followed by "set" or "not set"')
        self._take()
        found = Condition(field, "is set", ())
        return Not(found) if negated else found
