"""Access control lists as text, as getfacl(1) writes them, to the kernel's form and back."""

from __future__ import annotations

import os
import struct
from pathlib import Path

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_NOBODY = 0xFFFFFFFF
_TAGS = {"u:": 1, "u": 2, "g:": 4, "g": 8, "m:": 16, "o:": 32}
_NAMES = {number: name for name, number in _TAGS.items()}
_LETTERS = "rwx"


def encoded(text: str) -> bytes:
    """The form of `setxattr`, entries in the order in which they are written."""
    return _VERSION + b"".join(_entry(word) for word in text.split(","))


def decoded(value: bytes) -> str:
    """The text of such a value."""
    words = []
    for tag, perm, ident in _ENTRY.iter_unpack(value[len(_VERSION) :]):
        name = _NAMES[tag]
        who = f"{name}:" if name.endswith(":") else f"{name}:{ident}:"
        words.append(who + _permissions(perm))
    return ",".join(words)


def set_list(path: Path, text: str, name: str = ACCESS) -> None:
    """Set a list as setfacl(1) does; an empty text is a list without entries."""
    os.setxattr(path, name, encoded(text) if text else _VERSION)


def lists(path: Path) -> tuple[str, ...]:
    """The mode and both lists, "-" where there is none."""
    return (f"{path.stat().st_mode:o}", _shown(path, ACCESS), _shown(path, DEFAULT))


def _entry(word: str) -> bytes:
    kind, ident, perm = word.split(":")
    tag = _TAGS[kind] if ident else _TAGS[f"{kind}:"]
    bits = sum(4 >> place for place, letter in enumerate(_LETTERS) if letter in perm)
    return _ENTRY.pack(tag, bits, int(ident) if ident else _NOBODY)


def _permissions(perm: int) -> str:
    return "".join(letter if perm & 4 >> place else "-" for place, letter in enumerate(_LETTERS))


def _shown(path: Path, name: str) -> str:
    try:
        return decoded(os.getxattr(path, name))
    except OSError:
        return "-"
