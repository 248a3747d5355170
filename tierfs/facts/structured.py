"""JSON, and JSON Lines: the keys of the object, or of the first line."""

from __future__ import annotations

import json
from typing import Any, Final

from tierfs.facts.extractor import Extractor, Found, NotReadable
from tierfs.facts.source import Source

_BLANK: Final = b" \t\r\n"
_BOM: Final = b"\xef\xbb\xbf"

KEYS: Final = {
    "json.format": "json: one value; jsonl: one value on each line",
    "json.type": "object, array, or what else it is; of jsonl that of the first line",
    "json.keys": "keys of the object, or of the first line, sorted, with commas, where all fit",
    "json.key_count": "how many they are",
    "json.items": "elements of an array, or lines of jsonl; only of files that are within the head",
}

_ELEMENTS: Final = tuple(bytes([each]) for each in b'{["]-0123456789tfn')
"""What the first element of an array begins with, or its end."""

_TYPES: Final = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}


def recognises(head: bytes) -> bool:
    """Whether these may be the first bytes of JSON: an object or an array begins."""
    text = head.removeprefix(_BOM).lstrip(_BLANK)
    if text[:1] == b"{":
        return text[1:].lstrip(_BLANK)[:1] in {b'"', b"}"}
    return text[:1] == b"[" and text[1:].lstrip(_BLANK).startswith(_ELEMENTS)


def extract(source: Source) -> Found:
    """The facts; none where the first value is longer than the head.

    Raises:
        NotReadable: it is no JSON.
    """
    text = source.head.removeprefix(_BOM)
    if source.whole:
        value, lines = _whole(text)
        items = lines or (len(value) if isinstance(value, list) else None)
        return {**_of(value), "json.format": "jsonl" if lines else "json", "json.items": items}
    line, end, rest = text.lstrip(_BLANK).partition(b"\n")
    value = _parsed(line) if end else None
    if value is None or _parsed(rest.partition(b"\n")[0]) is None:
        return {}  # one long value, or a line that does not end here
    return {**_of(value), "json.format": "jsonl"}


def _whole(text: bytes) -> tuple[Any, int]:
    """The value, or the first of several; and on how many lines they are, 0: it is one value."""
    try:
        return json.loads(text), 0
    except (ValueError, RecursionError) as error:
        lines = [line for line in text.splitlines() if line.strip(_BLANK)]
        values = [_parsed(line) for line in lines]
        if len(values) < 2 or None in values:  # noqa: PLR2004 - one line is one value
            raise NotReadable(f"no JSON: {error}") from error
        return values[0], len(values)


def _parsed(line: bytes) -> Any:  # noqa: ANN401 - JSON
    """An object or an array; None: the line is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _of(value: Any) -> dict[str, int | str | None]:  # noqa: ANN401 - JSON
    facts: dict[str, int | str | None] = {"json.type": _TYPES.get(type(value), "number")}
    if isinstance(value, dict):
        facts["json.keys"] = ",".join(sorted(value))
        facts["json.key_count"] = len(value)
    return facts


EXTRACTOR: Final = Extractor("json", 1, KEYS, recognises, extract)
