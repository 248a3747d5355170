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
        header = json.loads(source.read(8, length))
    except (ValueError, RecursionError) as error:
        raise NotReadable(f"its header is no JSON: {error}") from error
    header.pop(METADATA, None)
    data = source.size - 8 - length
    if max((_end(tensor) for tensor in header.values()), default=0) != data:
        raise NotReadable("its tensors do not fill the file")
    names = sorted(header)
    return {
        "tensors.count": len(names),
        "tensors.parameters": sum(math.prod(tensor["shape"]) for tensor in header.values()),
        "tensors.dtypes": ",".join(sorted({str(tensor["dtype"]) for tensor in header.values()})),
        "tensors.names": ",".join(names),
    }


def _end(tensor: Any) -> int:  # noqa: ANN401 - JSON
    """Where the bytes of a tensor end.

    Raises:
        NotReadable: it is no tensor.
    """
    try:
        start, end = tensor["data_offsets"]
        shape = [*tensor["shape"], start, end]
        if not isinstance(tensor["dtype"], str) or not all(
            isinstance(number, int) and number >= 0 for number in shape
        ):
            raise NotReadable("a tensor of its header is none")
    except (TypeError, ValueError, LookupError) as error:
        raise NotReadable("a tensor of its header is none") from error
    return int(end)


EXTRACTOR: Final = Extractor("safetensors", 1, KEYS, recognises, extract)
