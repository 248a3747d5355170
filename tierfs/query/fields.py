"""Every field that an expression may name: one table, from which the reference is written as well.

A test of a field becomes a `Term`: a condition of SQL on the row ``i`` of the inode table, and,
where SQL alone cannot tell, a function that is called for the rows that are left. Unknown is NULL,
or None, and then the test neither holds nor does its negation (Kleene's three-valued logic).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from tierfs.metadata.inode_sql import CHECKSUM, FIRST_NAME, fact_of, tag_is, tag_of
from tierfs.query import quantities
from tierfs.query.quantities import BadText, Interval, Quantity

if TYPE_CHECKING:
    from tierfs.metadata.inode_sql import Found
    from tierfs.query.expression import Operator
    from tierfs.query.page import Page

Value: TypeAlias = int | float | str | dict[str, Any] | None
"""What is shown of a field; None: not set, or not known."""

Shape: TypeAlias = Literal[
    "text",
    "number",
    "real",
    "size",
    "time",
    "length",
    "mode",
    "user",
    "group",
    "flag",
    "fact",
    "map",
]
"""What a value is: a size in bytes, a time or a length of time in nanoseconds, an account's number,
a header fact (a number or a text), or a mapping of texts."""

NOW: Final = ":now"
"""In SQL: stands for the time of the query, in nanoseconds since the epoch."""

Late: TypeAlias = Callable[["Page", "Found"], bool | None]


class Term(NamedTuple):
    """A test as SQL with values for its question marks.

    With ``late`` the SQL says where it may hold, ``otherwise`` where it may not, and ``late``
    decides. ``tag`` is set where it holds just for some values of an attribute, ``fact`` where it
    does for some of a header fact, ``under`` where it does only for files below a directory.
    """

    sql: str
    values: tuple[object, ...] = ()
    late: Late | None = None
    otherwise: str = "1"
    tag: tuple[bytes, tuple[bytes, ...]] | None = None
    fact: tuple[str, tuple[float | str, ...]] | None = None
    under: tuple[str, ...] = ()


class Kind(ABC):
    """How the values of a field are written, compared and shown."""

    operators: frozenset[str] = frozenset({"=", "!=", "<", "<=", ">", ">=", "in", "is set"})
    written: str
    """For the reference."""
    shape: Shape = "text"
    """How its values are shown."""
    is_raw: bool = False
    """Whether SQL finds bytes."""

    @abstractmethod
    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """A test, of an operator that is among ``operators``.

        Raises:
            BadText: a value is none of this kind.
        """


class Field(NamedTuple):
    """``sql``: its value on the row ``i``; without it ``value`` finds it."""

    name: str
    kind: Kind
    example: str
    meaning: str
    sql: str = ""
    value: Callable[[Page, Found], Value] | None = None


# ------------------------------------------------------------------ numbers

_SIGNS: Final[dict[str, tuple[str, Callable[[Interval], tuple[float, ...]]]]] = {
    "=": ("{} BETWEEN ? AND ?", lambda one: (one.low, one.high)),
    "!=": ("{} NOT BETWEEN ? AND ?", lambda one: (one.low, one.high)),
    "<": ("{} < ?", lambda one: (one.low,)),
    "<=": ("{} <= ?", lambda one: (one.high,)),
    ">": ("{} > ?", lambda one: (one.high,)),
    ">=": ("{} >= ?", lambda one: (one.low,)),
}


def _compared(sql: str, operator: Operator, intervals: Sequence[Interval]) -> Term:
    form, values = _SIGNS["=" if operator == "in" else operator]
    tests = " OR ".join([form.format(sql)] * len(intervals))
    return Term(tests, tuple(value for one in intervals for value in values(one)))


def _fits(value: float, operator: Operator, intervals: Sequence[Interval]) -> bool:
    first = intervals[0]
    if operator in {"=", "in"}:
        return any(low <= value <= high for low, high in intervals)
    if operator == "!=":
        return not first.low <= value <= first.high
    if operator in {"<", "<="}:
        return value < first.low or (operator == "<=" and value <= first.high)
    return value > first.high or (operator == ">=" and value >= first.low)


class Measure(Kind):
    """A number with a unit."""

    def __init__(self, quantity: Quantity, shape: Shape = "number") -> None:
        self._quantity = quantity
        self.written = quantity.written
        self.shape = shape

    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`."""
        if operator == "is set":
            return _is_set(field)
        if operator not in {"=", "!=", "in"} and any(".." in text for text in texts):
            raise BadText(f'"{texts[0]}" is a range', 'compare it by "=" or "!="')
        intervals = [self._quantity.read(text) for text in texts]
        if field.value is None:
            return _compared(field.sql, operator, intervals)
        return Term("1", late=partial(_late_number, field.value, operator, intervals))


def _late_number(
    find: Callable[[Page, Found], Value],
    operator: Operator,
    intervals: Sequence[Interval],
    page: Page,
    row: Found,
) -> bool | None:
    value = find(page, row)
    return _fits(value, operator, intervals) if isinstance(value, int | float) else None


def _is_set(field: Field) -> Term:
    value = field.value
    if value is None:
        return Term(f"{field.sql} IS NOT NULL")
    return Term("1", late=lambda page, row: value(page, row) is not None)


# ------------------------------------------------------------------ words


class Words(Kind):
    """One of some words."""

    operators = frozenset({"=", "!=", "in", "is set"})

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self.written = ", ".join(f"`{word}`" for word in words)

    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`."""
        if operator == "is set":
            return _is_set(field)
        words = tuple(quantities.choice(text, self._words) for text in texts)
        sign = "!=" if operator == "!=" else "="
        return Term(" OR ".join([f"{field.sql} {sign} ?"] * len(words)), words)


class Accounts(Kind):
    """A user or a group."""

    operators = frozenset({"=", "!=", "in"})
    written = "a name or a number"

    def __init__(self, *, group: bool) -> None:
        self._group = group
        self.shape = "group" if group else "user"

    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`."""
        numbers = tuple(quantities.account(text, group=self._group) for text in texts)
        sign = "!=" if operator == "!=" else "="
        return Term(" OR ".join([f"{field.sql} {sign} ?"] * len(numbers)), numbers)


class Flag(Kind):
    """Something that a file is or is not: the field stands alone."""

    operators = frozenset({""})
    written = "stands alone, `pinned`, `not pinned`"
    shape = "flag"

    def term(self, field: Field, _operator: Operator, _texts: Sequence[str]) -> Term:
        """As `Kind`."""
        value = field.value
        if value is None:
            return Term(field.sql)
        return Term("1", late=lambda page, row: bool(value(page, row)))


# ------------------------------------------------------------------ patterns


class Names(Kind):
    """The last component of a path."""

    operators = frozenset({"=", "!=", "in"})
    written = "a pattern, `*.tif`, `plate-[0-9]?.{tif,tiff}`"

    def term(self, _field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`; SQL tests the first name of an inode that has no other."""
        globs = [quantities.pattern(text) for text in texts]

        def late(page: Page, row: Found) -> bool:
            names = [path.rpartition("/")[2] for path in page.paths(row)]
            found = any(glob.matches(name) for glob in globs for name in names)
            return found != (operator == "!=")

        fits = " OR ".join(["fits(?, name)"] * len(globs))
        test = f"({FIRST_NAME.format(fits)})"
        holds, fails = f"coalesce({test}, 1)", f"coalesce(NOT {test}, 1)"
        if operator == "!=":
            holds, fails = fails, holds
        return Term(holds, tuple(texts), late, fails)


class Paths(Kind):
    """The path from the root of the mount."""

    operators = frozenset({"=", "!=", "in"})
    written = "a pattern as in a policy, `/screens/**`, `**/*.tif`"

    def term(self, _field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`."""
        globs = [quantities.pattern(text, of_paths=True) for text in texts]

        def late(page: Page, row: Found) -> bool:
            found = any(glob.matches(path) for glob in globs for path in page.paths(row))
            return found != (operator == "!=")

        names = [_last_name(text) for text in texts]
        under = _directories(texts[0]) if len(texts) == 1 and operator != "!=" else ()
        if not all(names):
            return Term("1", late=late, under=under)
        fits = " OR ".join(["fits(?, name)"] * len(names))
        test = f"coalesce(({FIRST_NAME.format(fits)}), 1)"
        holds, fails = ("1", test) if operator == "!=" else (test, "1")
        return Term(holds, tuple(names), late, fails, under=under)


def _directories(pattern: str) -> tuple[str, ...]:
    """The names of the directories that a pattern of paths begins with."""
    names: list[str] = []
    for name in pattern.split("/")[1:-1] if pattern.startswith("/") else ():
        if quantities.is_pattern(name):
            break
        names.append(name)
    return tuple(names)


def _last_name(pattern: str) -> str:
    """The pattern of the last name of what fits a pattern of paths; empty: it does not tell."""
    last = pattern.rpartition("/")[2]
    return "" if last == "**" or re.search(r"[{}\\]|\[[^\]]*/", pattern) else last


class Tags(Kind):
    """An extended attribute ``user.``; one that is not set has no value, and fits no test."""

    written = "a pattern of text, `mitosis`, `plate-*`; `<` and `>` compare numbers"
    is_raw = True

    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`."""
        name = field.name.encode("utf-8", "surrogateescape")
        if operator == "is set":
            return Term(f"{tag_of(name)} IS NOT NULL")
        if operator in {"=", "!=", "in"}:
            negation = "NOT " if operator == "!=" else ""
            if not any(map(quantities.is_pattern, texts)):
                values = tuple(text.encode("utf-8", "surrogateescape") for text in texts)
                marks = ", ".join("?" * len(values))
                tag = None if negation else (name, values)
                return Term(f"{negation}{tag_is(name, marks)}", values, tag=tag)
            for text in texts:
                quantities.pattern(text)
            fits = " OR ".join([f"coalesce(fits(?, {tag_of(name)}), 0)"] * len(texts))
            return Term(f"{negation}({fits})", tuple(texts))
        term = _compared(f"number({tag_of(name)})", operator, [quantities.NUMBER.read(texts[0])])
        return Term(f"coalesce({term.sql}, 0)", term.values)


class Texts(Kind):
    """Any text."""

    operators = frozenset({"=", "!=", "in", "is set"})
    written = "a pattern of text"

    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`."""
        if operator == "is set":
            return _is_set(field)
        for text in texts:
            quantities.pattern(text)
        negation = "NOT " if operator == "!=" else ""
        tests = " OR ".join([f"fits(?, {field.sql})"] * len(texts))
        return Term(f"{negation}({tests})", tuple(texts))


class Shown(Kind):
    """A column, and no test."""

    operators = frozenset()
    written = "not in an expression, for `--columns`"
    shape = "map"

    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`; there is no test."""
        raise BadText(f'"{field.name}" cannot be tested', f"not by {operator} {texts}")


class Facts(Kind):
    """What the header of a file says; unknown while nobody has read it."""

    written = "a number, or a pattern of text"
    shape = "fact"

    def term(self, field: Field, operator: Operator, texts: Sequence[str]) -> Term:
        """As `Kind`."""
        if operator == "is set":
            return _is_set(field)
        value = field.sql
        number = f"CASE WHEN typeof({value}) IN ('integer', 'real') THEN {value} END"
        if operator not in {"=", "!=", "in"}:
            return _compared(number, operator, [quantities.NUMBER.read(texts[0])])
        tests: list[str] = []
        values: list[float | str] = []
        exact: list[float | str] = []
        for text in texts:
            if ".." in text:
                low, high = quantities.NUMBER.read(text)
                tests.append(f"{number} BETWEEN ? AND ?")
                values += [low, high]
            else:
                quantities.pattern(text)
                number_or_text = quantities.number_of(text)
                tests.append(f"({value} = ? OR fits(?, {value}))")
                values += [text if number_or_text is None else number_or_text, text]
                exact += [text] if number_or_text is None else [number_or_text, text]
        negation = "NOT " if operator == "!=" else ""
        is_exact = not negation and not any(map(_is_open, texts))
        fact = (field.name, tuple(exact)) if is_exact else None
        return Term(f"{negation}({' OR '.join(tests)})", tuple(values), fact=fact)


def _is_open(text: str) -> bool:
    """Whether a value stands for more than itself."""
    return ".." in text or quantities.is_pattern(text)


# ------------------------------------------------------------------ the table

_FILE: Final = "i.mode & 0xF000 = 0x8000"
_FILETYPES: Final = {
    "file": 0x8000,
    "directory": 0x4000,
    "link": 0xA000,
    "fifo": 0x1000,
    "socket": 0xC000,
    "block": 0x6000,
    "character": 0x2000,
}
_FILETYPE: Final = " ".join(f"WHEN {bits} THEN '{word}'" for word, bits in _FILETYPES.items())
_LATEST: Final = quantities.LARGEST
_WRAPPED: Final = -(2**31) * 10**9


def _moment(column: str) -> str:
    """A time of a row; those after 2262, which have wrapped around, are the latest there is."""
    return f"(CASE WHEN i.{column} < {_WRAPPED} THEN {_LATEST} ELSE i.{column} END)"


def _heat(page: Page, row: Found) -> Value:
    warmth = page.warmth(row)
    return None if warmth is None else round(warmth, 3)


TIERS: Final = ("flash", "disk", "split")
TIMES: Final = Measure(quantities.TIME, "time")
BYTES: Final = Measure(quantities.SIZE, "size")
COUNTS: Final = Measure(quantities.COUNT)
LENGTHS: Final = Measure(quantities.DURATION, "length")

FIELDS: Final = (
    Field("name", Names(), "name = *.tif", "Its name.", value=lambda page, row: page.name(row)),
    Field(
        "path",
        Paths(),
        'path = "/screens/**/*.tif"',
        "Its path from the root of the mount.",
        value=lambda page, row: page.path(row),
    ),
    Field(
        "type",
        Words(tuple(_FILETYPES)),
        "type = directory",
        "What it is.",
        f"(CASE i.mode & 0xF000 {_FILETYPE} END)",
    ),
    Field("size", BYTES, "size > 1MiB", "Bytes of the file.", "i.size"),
    Field(
        "mode",
        Measure(quantities.MODE, "mode"),
        "mode = 0600",
        "Its permissions.",
        "(i.mode & 0xFFF)",
    ),
    Field("owner", Accounts(group=False), "owner = lab", "The user it belongs to.", "i.uid"),
    Field("group", Accounts(group=True), "group = imaging", "Its group.", "i.gid"),
    Field("links", COUNTS, "links > 1", "How many names it has.", "i.nlink"),
    Field("inode", COUNTS, "inode = 4711", "Its inode number.", "i.ino"),
    Field("mtime", TIMES, "mtime >= 2026-07", "When its bytes were changed.", _moment("mtime")),
    Field("ctime", TIMES, "ctime = 2026-07-01", "When it was changed at all.", _moment("ctime")),
    Field(
        "atime",
        TIMES,
        "atime < 2025",
        "When it was read, if the mount keeps that time.",
        _moment("atime"),
    ),
    Field(
        "btime",
        TIMES,
        "btime > 2026-07-01T12:00",
        "When it was made; unknown of old files.",
        "nullif(i.btime, 0)",
    ),
    Field(
        "age",
        LENGTHS,
        "age > 30d",
        "The time since its bytes were changed.",
        f"max(0, {NOW} - {_moment('mtime')})",
    ),
    Field(
        "idle",
        LENGTHS,
        "idle > 7d",
        "The time since it was last read, as for a policy; unknown where nobody kept count.",
        value=lambda page, row: page.idle(row),
    ),
    Field(
        "heat",
        Measure(quantities.NUMBER, "real"),
        "heat > 2",
        "How often it was read, with a half-life of a day; 0 where that is not known.",
        value=_heat,
    ),
    Field(
        "tier",
        Words(TIERS),
        "tier = flash",
        "Where the bytes of a file are: all on flash, none there, or both.",
        f"(CASE WHEN {_FILE} THEN CASE WHEN i.prefix = 0 THEN 'disk' "
        "WHEN i.size <= i.prefix THEN 'flash' ELSE 'split' END END)",
    ),
    Field(
        "on_flash",
        BYTES,
        "on_flash > 64KiB",
        "How many of its bytes are on flash.",
        f"(({_FILE}) * min(i.size, i.prefix))",
    ),
    Field(
        "mirrored",
        Flag(),
        "mirrored",
        "Disk has what flash has of it, too.",
        f"({_FILE} AND i.mirrored)",
    ),
    Field("sparse", Flag(), "sparse", "It may have a hole.", f"({_FILE} AND i.sparse)"),
    Field(
        "adopted",
        Flag(),
        "adopted",
        "Its bytes are those of an original.",
        f"({_FILE} AND i.adopted)",
    ),
    Field(
        "lost",
        Flag(),
        "lost",
        "Bytes of it are wrong, and no copy is right.",
        "EXISTS (SELECT 1 FROM checksum WHERE ino = i.ino AND lost != 0)",
    ),
    Field(
        "pinned",
        Flag(),
        "not pinned",
        "It is pinned by hand, or a directory above it is.",
        value=lambda page, row: page.is_pinned(row),
    ),
    Field(
        "checksum",
        Texts(),
        "checksum is set",
        "The checksum of all its bytes (XXH3, 128 bits, in hexadecimal), while it holds.",
        CHECKSUM,
    ),
    Field(
        "tags",
        Shown(),
        "",
        "All of its attributes `user.`, to be shown.",
        value=lambda page, row: page.tags(row),
    ),
    Field(
        "facts",
        Shown(),
        "",
        "All of its header facts, to be shown.",
        value=lambda page, row: page.facts(row),
    ),
)
"""All but tags and facts, which are fields by their prefix."""

BY_NAME: Final = {one.name: one for one in FIELDS}

TAG: Final = "user."
HIDDEN: Final = ("trusted.", "security.", "system.", "tierfs.")
FACT: Final = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*\.[a-z0-9]+(?:[_-][a-z0-9]+)*")
"""The names of header facts: a family, a dot, and a word."""


def field_of(name: str) -> Field:
    """The field of a name.

    Raises:
        BadText: there is none.
    """
    if name in BY_NAME:
        return BY_NAME[name]
    if name.startswith(TAG) and len(name) > len(TAG):
        raw = name.encode("utf-8", "surrogateescape")
        return Field(name, _TAGS, f"{name} = x", "An extended attribute.", tag_of(raw))
    if name.startswith(HIDDEN):
        raise BadText(f'attributes such as "{name}" are not searched', "only those of user. are")
    if FACT.fullmatch(name):
        return Field(name, _FACTS, f"{name} is set", "A header fact.", fact_of(name))
    hint = quantities.meant(name, BY_NAME)
    if not hint and re.fullmatch(r"[\w-]+", name):
        hint = f'a tag is written "user.{name}"'
    raise BadText(f'there is no field "{name}"', hint)


_TAGS: Final = Tags()
_FACTS: Final = Facts()
