"""What a debug bundle says without the names of files, directories, rules and users.

Known text is kept, and everything else is hidden, rather than the other way round: what tierfs says
comes from templates in its own sources, and what fills them is hidden unless it is known as well.
"""

from __future__ import annotations

import ast
import builtins
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from hashlib import blake2s
from pathlib import Path
from typing import Any, Final

DIGEST: Final = 4
"""Bytes of a hidden name's digest: enough to tell the names of one volume apart."""
LETTERS: Final = 6
"""Of the fixed text that a template must have; less would match anything."""
DEPTH: Final = 4
"""How often a message may stand in another one."""

_ERRORS: Final = sorted({os.strerror(number) for number in errno.errorcode}, key=len, reverse=True)
_TYPES: Final = [
    name for name in vars(builtins) if name.endswith(("Error", "Exception", "Interrupt"))
]
_KNOWN_PHRASE: Final = re.compile(
    "|".join([r"\[Errno \d+\]", *map(re.escape, _ERRORS), *(rf"\b{name}:" for name in _TYPES)])
)
_PLAIN: Final = re.compile(
    r"[-+]?[\d.,:/ ]+"
    r"(?:%|B|[KMGTP]iB|[kMGTP]B|ns|us|ms|s|min|h|d|T[\d:.]+(?:Z|[+-][\d:]+)?)?(?:/s)?"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:[<>]=? )?[\d.]+ ?[KMGTP]?i?B?"
)
"""Numbers with their units, times, UUIDs."""
_FORMAT: Final = re.compile(r"%[-#0 +]*[\d.*]*[a-zA-Z]")
_RECORD: Final = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ +)([\w.]+): (.*)")
_FRAME: Final = re.compile(r'  File "([^"]*)", line (\d+), in ([\w<>]+)')
_MODULE: Final = re.compile(r".*/((?:tierfs|python3\.\d+)/[\w/.-]+\.py)")
_OPTIONS: Final = re.compile(r"[\w-]+(?:=[\w.-]+)?(?:,[\w-]+(?:=[\w.-]+)?)+")
"""Mount options, as mountinfo has them."""
_OF_THE_KERNEL: Final = ("/proc/", "/sys/", "/dev/fuse", "/dev/cpu_dma_latency")
"""Beginnings of paths in which nobody chose a name."""
_NAMING: Final = frozenset({"name", "class", "path", "owner", "group", "xattr", "evict_order"})
"""Keys of YAML files whose values are names, even where tierfs knows the word."""


class Redactor:
    """Hides names; the same name is hidden alike within one bundle, and otherwise in the next."""

    def __init__(self, *, with_names: bool, known: Iterable[str] = ()) -> None:
        """``known``: texts that name nothing of the user's, such as the kernel's version."""
        self._known = frozenset(known)
        self._key = os.urandom(16)
        self._with_names = with_names

    def name(self, name: str) -> str:
        """A name as its digest."""
        if self._with_names:
            return name
        data = name.encode("utf-8", "surrogateescape")
        return f"n-{blake2s(data, key=self._key, digest_size=DIGEST).hexdigest()}"

    def path(self, path: str | Path) -> str:
        """A path, each of its parts a digest."""
        if os.fspath(path).startswith(_OF_THE_KERNEL):
            return os.fspath(path)
        return "/".join(self.name(part) if part else "" for part in os.fspath(path).split("/"))

    def text(self, text: str, depth: int = DEPTH) -> str:
        """A message or a value: what tierfs or the C library says is kept."""
        if self._with_names or not text.strip() or text in self._said or text in self._known:
            return text
        if _PLAIN.fullmatch(text):
            return text
        found = self._match(text) if depth else None
        if found is None and _OPTIONS.fullmatch(text):
            return ",".join(self._option(part) for part in text.split(","))
        if found is None:
            return self._around_phrases(text)
        end, pieces = 0, []
        for group in range(1, (found.lastindex or 0) + 1):
            start = found.start(group)
            pieces += [text[end:start], self.text(found[group], depth - 1)]
            end = found.end(group)
        return "".join([*pieces, text[end:]])

    def document(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        """A JSON value; the keys of objects are tierfs's own."""
        if isinstance(value, Mapping):
            return {key: self.document(inner) for key, inner in value.items()}
        if isinstance(value, str):
            return self.text(value)
        return [self.document(inner) for inner in value] if isinstance(value, list) else value

    def settings(self, value: Any, *, naming: bool = False) -> Any:  # noqa: ANN401 - any JSON
        """What a YAML file says: names of rules, classes and users are hidden, known or not."""
        if isinstance(value, Mapping):
            return {
                key if key in self._said or self._with_names else self.name(key): self.settings(
                    inner, naming=naming or key in _NAMING
                )
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return [self.settings(inner, naming=naming) for inner in value]
        return self.path(value) if naming else self.text(value)

    def log(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of a log, tracebacks included."""
        if self._with_names:
            yield from lines
            return
        for line in lines:
            yield self._log_line(line)

    def _log_line(self, line: str) -> str:
        if record := _RECORD.fullmatch(line):
            logger = record[2] if record[2].startswith("tierfs") else self.name(record[2])
            return f"{record[1]}{logger}: {self.text(record[3])}"
        if frame := _FRAME.fullmatch(line):
            module = _MODULE.fullmatch(frame[1])
            where = module[1] if module else self.path(frame[1])
            return f'  File "{where}", line {frame[2]}, in {frame[3]}'
        if line.startswith("{"):
            try:
                return json.dumps(self.document(json.loads(line)))
            except ValueError:
                pass
        return line if line.strip() in self._code else self.text(line)

    def _option(self, option: str) -> str:
        name, _, value = option.partition("=")
        return option if value.isdecimal() and name.islower() else self.text(option, 0)

    def _around_phrases(self, text: str) -> str:
        """Everything but known phrases is a name, or a path with several."""
        end, pieces = 0, []
        for phrase in _KNOWN_PHRASE.finditer(text):
            pieces += [self._part(text[end : phrase.start()]), phrase[0]]
            end = phrase.end()
        return "".join([*pieces, self._part(text[end:])])

    def _part(self, text: str) -> str:
        bare = text.strip(" :,;'\"()")
        if not bare:
            return text
        before, _, after = text.partition(bare)
        return f"{before}{self.path(bare)}{after}"

    def _match(self, text: str) -> re.Match[str] | None:
        """The template with the most fixed text of which this may be made."""
        for fixed, pattern in self._templates:
            if all(piece in text for piece in fixed) and (found := pattern.fullmatch(text)):
                return found
        return None

    # -------------------------------------------------------------- what tierfs may say

    @cached_property
    def _sources(self) -> list[str]:
        top = Path(__file__).parents[1]
        return [path.read_text(encoding="utf-8") for path in sorted(top.rglob("*.py"))]

    @cached_property
    def _code(self) -> frozenset[str]:
        """Lines of the sources, which a traceback quotes."""
        lines = {line.strip() for text in self._sources for line in text.splitlines()}
        return frozenset(lines | {"Traceback (most recent call last):"})

    @cached_property
    def _constants(self) -> list[ast.Constant | ast.JoinedStr]:
        found: list[ast.Constant | ast.JoinedStr] = []
        for source in self._sources:
            nodes = list(ast.walk(ast.parse(source)))
            inner = {
                id(one) for node in nodes if isinstance(node, ast.JoinedStr) for one in node.values
            }
            found += [
                node
                for node in nodes
                if isinstance(node, ast.JoinedStr)
                or (isinstance(node, ast.Constant) and id(node) not in inner)
            ]
        return found

    @cached_property
    def _said(self) -> frozenset[str]:
        """Whole texts of the sources; none with a slash, which a path could be."""
        texts = (node.value for node in self._constants if isinstance(node, ast.Constant))
        return frozenset(text for text in texts if isinstance(text, str) and "/" not in text)

    @cached_property
    def _templates(self) -> list[tuple[list[str], re.Pattern[str]]]:
        """The fixed pieces of each f-string and each format of the log, and what matches it."""
        every = {
            tuple(pieces)
            for pieces in map(_pieces, self._constants)
            if len(pieces) > 1 and sum(map(str.isalpha, "".join(pieces))) >= LETTERS
        }
        longest = sorted(every, key=lambda pieces: -len("".join(pieces)))
        return [
            ([piece for piece in pieces if piece], re.compile("(.*)".join(map(re.escape, pieces))))
            for pieces in longest
        ]


def _pieces(node: ast.Constant | ast.JoinedStr) -> list[str]:
    """The fixed text of a template between what fills it."""
    if isinstance(node, ast.Constant):
        return _FORMAT.split(node.value) if isinstance(node.value, str) else []
    pieces = [""]
    for value in node.values:
        if isinstance(value, ast.Constant):
            pieces[-1] += str(value.value)
        else:
            pieces.append("")
    return pieces
