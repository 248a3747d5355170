"""Change single keys of a volume file, as a person would with an editor."""

from __future__ import annotations

import re
from pathlib import Path


def set_key(path: Path, key: str, value: str) -> None:
    """Give the top-level `key` the YAML `value` (one line), whatever it was before."""
    text = re.sub(
        rf"(?m)^{re.escape(key)}:.*\n(?:[ \t]+.*\n)*", "", path.read_text(encoding="utf-8")
    )
    path.write_text(f"{text.rstrip()}\n{key}: {value}\n", encoding="utf-8")
