"""Wildcards as shells have them, compiled once to regular expressions that cannot run away.

``*`` is any run of characters and ``?`` any one, both within a name; ``[a-z]`` and ``[!a-z]`` are
sets; ``{tif,tiff}`` is a choice; ``**`` between slashes is any number of directories. A backslash
takes the meaning from the character behind it. Nothing is special about a leading dot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import product

MAX_CHOICES = 100
"""Patterns that the choices in one pattern may multiply to."""

MAX_LENGTH = 4096
"""Characters of a pattern, as of a path (PATH_MAX, limits.h)."""


class BadGlob(ValueError):
    """A pattern that is none; ``hint`` says what to write."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern: ``text`` as it was written, and the regular expression that it stands for."""

    text: str
    expression: str
    everything: bool
    """Whether there is nothing that it does not match."""
    prefixes: tuple[str, ...]
    """All that matches begins with one of them."""
    _compiled: list[re.Pattern[str]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __reduce__(self) -> tuple[type[Glob], tuple[str, str, bool, tuple[str, ...]]]:
        """For another process, where it is compiled when it is first used."""
        return Glob, (self.text, self.expression, self.everything, self.prefixes)

    @property
    def pattern(self) -> re.Pattern[str]:
        """The expression, compiled once."""
        if not self._compiled:
            self._compiled.append(re.compile(self.expression, re.DOTALL))
        return self._compiled[0]

    def matches(self, text: str) -> bool:
        """Whether the whole of ``text`` fits."""
        return self.pattern.fullmatch(text) is not None


def path_glob(text: str) -> Glob:
    """The pattern of a path, which begins with a slash at the root of the filesystem.

    Raises:
        BadGlob: it is not a pattern, or begins neither with ``/`` nor with ``**``.
    """
    if not text.startswith(("/", "**")):
        hint = f'write "**/{text}" for any directory, "/{text}" for the top one'
        raise BadGlob("must begin with / or **", hint if text else 'such as "/screens/**"')
    rooted = text if text.startswith("/") else f"/{text}"
    choices = _choices(rooted)
    parts = [_path_expression(choice) for choice in choices]
    return _glob(text, choices, parts, everything=rooted in {"/**", "/**/*"})


def text_glob(text: str) -> Glob:
    """The pattern of a value, in which a slash is a character like others.

    Raises:
        BadGlob: it is not a pattern.
    """
    choices = _choices(text)
    parts = [_starred(_atoms(choice), ".") for choice in choices]
    return _glob(text, choices, parts, everything=text in {"*", "**"})


def _glob(text: str, choices: list[str], parts: list[str], *, everything: bool) -> Glob:
    prefixes = tuple(dict.fromkeys(_literal_prefix(choice) for choice in choices))
    glob = Glob(text, "|".join(f"(?:{part})" for part in parts), everything, prefixes)
    _ = glob.pattern  # here, where the policy is read, and not when the first file is looked at
    return glob


def _literal_prefix(pattern: str) -> str:
    """What stands before the first wildcard."""
    found = re.match(r"(?s)(?:[^*?\[\\]|\\.)*", pattern)
    return re.sub(r"(?s)\\(.)", r"\1", found[0]) if found else ""


def _path_expression(path: str) -> str:
    """Runs of names between the ``**``, each found at its first place, which is never a worse one.

    The atomic groups are what keeps the time linear for each run: a run found early leaves more
    for those behind it, so there is no need to come back and try a later place.
    """
    runs: list[list[str]] = [[]]
    for name in _names(path):
        if name == "**":
            runs.append([])
        else:
            runs[-1].append("/" + _starred(_atoms(name, "/"), "[^/]"))
    first, *others = ["".join(run) for run in runs]
    if not others:
        return first
    middle = "".join(f"(?>.*?{run}(?=/))" for run in others[:-1] if run)
    return f"{first}(?=/){middle}.*{others[-1]}" if others[-1] else f"{first}(?=/){middle}/.+"


def _names(path: str) -> list[str]:
    names = path[1:].split("/")
    if "" in names:
        raise BadGlob(
            "has an empty name in it", 'write one slash between names, and "/**" for all below'
        )
    for name in names:
        if name in {".", ".."}:
            raise BadGlob(f'holds "{name}", which no stored path does', "write the path without it")
        if "**" in name.replace("\\*", "") and name != "**":
            raise BadGlob(
                "has ** beside other characters", 'write "**" alone between slashes, or "*"'
            )
    return names


def _starred(atoms: list[str], any_one: str) -> str:
    """``atoms``, where an empty one is a star; likewise each run at its first place."""
    runs: list[list[str]] = [[]]
    for atom in atoms:
        if atom:
            runs[-1].append(any_one if atom == "?" else atom)
        else:
            runs.append([])
    first, *others = ["".join(run) for run in runs]
    if not others:
        return first
    middle = "".join(f"(?>{any_one}*?{run})" for run in others[:-1] if run)
    return f"{first}{middle}{any_one}*{others[-1]}"


def _atoms(text: str, barred: str = "") -> list[str]:
    """The expressions of single characters; ``?`` for any one, and an empty one for a star."""
    atoms = []
    position = 0
    while position < len(text):
        atom, position = _atom(text, position, barred)
        atoms.append(atom)
    return atoms


def _atom(text: str, position: int, barred: str) -> tuple[str, int]:
    character = text[position]
    if character == "\\":
        if position + 1 == len(text):
            raise BadGlob("ends in a backslash", "write two for the character itself")
        return re.escape(text[position + 1]), position + 2
    if character == "[":
        return _set(text, position, barred)
    return {"*": "", "?": "?"}.get(character, re.escape(character)), position + 1


def _set(text: str, start: int, barred: str) -> tuple[str, int]:
    """``[...]`` as a set of a regular expression, which never holds the ``barred`` characters."""
    inner, end = _set_bounds(text, start)
    negation = f"^{barred}" if inner > start + 1 else ""
    return f"[{negation}{_members(text[inner : end - 1])}]", end


def _set_bounds(text: str, start: int) -> tuple[int, int]:
    """Where the members begin and the set ends; a ``]`` right at the beginning is a member."""
    inner = start + 1 + (text[start + 1 : start + 2] in {"!", "^"})
    end = text.find("]", inner + 1)
    if end < 0:
        raise BadGlob("has a [ without a ]", r'close it, or write "\[" for the character itself')
    return inner, end + 1


def _members(members: str) -> str:
    """Single characters and ranges such as ``a-z``, with all else escaped."""
    found = []
    for low, dash, high in re.findall(r"(?s)(.)(?:(-)(.))?", members):
        if dash and low > high:
            raise BadGlob(
                f'has the range "{low}-{high}" the wrong way round', f'write "{high}-{low}"'
            )
        found.append(re.escape(low) + (f"-{re.escape(high)}" if dash else ""))
    return "".join(found)


def _choices(text: str) -> list[str]:
    """The patterns without braces that ``text`` stands for."""
    if len(text) > MAX_LENGTH:
        raise BadGlob(f"is longer than {MAX_LENGTH} characters", "no path is as long")
    pieces = [[""]]
    count = 1
    position = 0
    while position < len(text):
        piece, position = _piece(text, position)
        count *= len(piece)
        if count > MAX_CHOICES:
            raise BadGlob(
                f"stands for more than {MAX_CHOICES} patterns", "use fewer {...}, or a list"
            )
        pieces.append(piece)
    return ["".join(choice) for choice in product(*pieces)]


def _piece(text: str, position: int) -> tuple[list[str], int]:
    """A choice, or one character with what protects it."""
    character = text[position]
    if character == "[":
        _, end = _set_bounds(text, position)
        return [text[position:end]], end
    if character == "{":
        return _braces(text, position)
    if character == "}":
        raise BadGlob("has a } without a {", r'open it, or write "\}" for the character itself')
    end = position + 1 + (character == "\\")
    return [text[position:end]], end


def _braces(text: str, start: int) -> tuple[list[str], int]:
    words = [""]
    position = start + 1
    while position < len(text) and text[position] != "}":
        if text[position] == "{":
            raise BadGlob("has a { inside {...}", "write a list of patterns instead")
        if text[position] == ",":
            words.append("")
            position += 1
        else:
            (piece,), position = _piece(text, position)
            words[-1] += piece
    if position >= len(text):
        raise BadGlob("has a { without a }", r'close it, or write "\{" for the character itself')
    return words, position + 1
