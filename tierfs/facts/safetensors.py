"""Tensors in a safetensors file: eight bytes of length, and a header in JSON.

https://huggingface.co/docs/safetensors: the library reads only from a path, so its header is read
here.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from tierfs.facts.extractor import Extractor, Found, NotReadable
from tierfs.facts.source import Source

LONGEST: Final = 100_000_000
"""Bytes of a header, as the format has it."""
METADATA: Final = "__metadata__"

_BITS: Final = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Bits of an element, by type."""

KEYS: Final = {
    "tensors.count": "tensors",
    "tensors.parameters": "elements of all tensors",
    "tensors.dtypes": "their types, with commas between",
    "tensors.names": "their names, with commas between, where all fit",
}


def recognises(head: bytes) -> bool:
    """Whether these are the first bytes of a safetensors file."""
    return int.from_bytes(head[:8], "little") <= LONGEST and head[8:10] == b'{"'


def extract(source: Source) -> Found:
    """The facts.

    Raises:
        NotReadable: the header is wrong.
    """
    length = int.from_bytes(source.head[:8], "little")
    if 8 + length > source.size:
        raise NotReadable("the file ends before its header does")
    try:
        text = source.read(8, length).decode()
        header = json.loads(text, object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise NotReadable(f"its header is no JSON: {error}") from error
    metadata = header.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(
        isinstance(each, str) for each in metadata.values()
    ):
        raise NotReadable("its metadata are no texts")
    _require_no_gap(header, source.size - 8 - length)
    names = sorted(header)
    return {
        "tensors.count": len(names),
        "tensors.parameters": sum(math.prod(tensor["shape"]) for tensor in header.values()),
        "tensors.dtypes": ",".join(sorted({str(tensor["dtype"]) for tensor in header.values()})),
        "tensors.names": ",".join(names),
    }


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError: a name is there twice, or is no text."""
    found = {name.encode().decode(): value for name, value in pairs}
    if len(found) != len(pairs):
        message = "a name is there twice"
        raise ValueError(message)
    return found


def _refused(constant: str) -> None:
    message = f"{constant} is no number"
    raise ValueError(message)


def _require_no_gap(tensors: dict[str, Any], size: int) -> None:
    """The bytes of the tensors lie one after the other, as the library demands.

    Raises:
        NotReadable: they do not, or what describes one is wrong.
    """
    end = 0
    for begin, following, length in sorted(_place(tensor) for tensor in tensors.values()):
        if begin != end or following - begin != length:
            raise NotReadable("its tensors do not lie one after the other")
        end = following
    if end != size:
        raise NotReadable("its tensors do not fill the file")


def _place(tensor: Any) -> tuple[int, int, int]:  # noqa: ANN401 - JSON
    """Where the bytes of a tensor begin and end, and how many its elements take.

    Raises:
        NotReadable: it is no tensor.
    """
    try:
        start, end = tensor["data_offsets"]
        shape, width = tensor["shape"], _BITS[tensor["dtype"]]
        numbers = [*shape, start, end]
    except (TypeError, ValueError, LookupError) as error:
        raise NotReadable("a tensor of its header is none") from error
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise NotReadable("a tensor of its header is none")
    bits = math.prod(shape) * width
    if bits % 8:
        raise NotReadable("a tensor of its header ends within a byte")
    return start, end, bits // 8


EXTRACTOR: Final = Extractor("safetensors", 2, KEYS, recognises, extract)
