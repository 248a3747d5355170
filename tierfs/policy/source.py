"""Reading a configuration file into text, with a message for every way in which that fails."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from tierfs.base.errors import ConfigError
from tierfs.base.units import KIB, format_size
from tierfs.policy.problems import Place, Problems, quote

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 256 * KIB
"""Far above any file a person writes, and parsed in a few seconds."""

_BYTE_ORDER_MARK = "\ufeff"

CHECK_NAME = 'check the name ("tierfs init" writes a new volume file)'
"""What to do about a volume file that is not there."""

_HINTS: dict[type[OSError], str] = {
    NotADirectoryError: "check the directories in the name",
    PermissionError: "run as a user who may read it, or change its mode or owner",
}


def read_source(path: Path, *, if_missing: str = CHECK_NAME) -> str:
    """The text of the regular file ``path``; ``if_missing`` is the hint when it is not there.

    Raises:
        ConfigError: it cannot be read, is no regular file, is too large, or is not UTF-8.
    """
    try:
        data = _read(path)
    except OSError as exc:
        hint = if_missing if isinstance(exc, FileNotFoundError) else _hint(exc)
        raise ConfigError(f"{path}: cannot be read: {exc.strerror or exc}; {hint}") from exc
    except ValueError as exc:
        what = f"cannot be a file name: {exc}"
        raise ConfigError(f"{quote(str(path))}: {what}; check the name") from exc
    return _decode(path, data)


def _hint(exc: OSError) -> str:
    return _HINTS.get(type(exc), "check the file and its filesystem")


def place_of(text: str, position: int) -> Place:
    """The line and column of the character at index ``position`` of ``text``."""
    before = text[:position]
    return Place(before.count("\n") + 1, position - before.rfind("\n"))


def _read(path: Path) -> bytes:
    # Without O_NONBLOCK opening a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        _require_regular(path, os.fstat(descriptor).st_mode)
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        limit = format_size(MAX_BYTES)
        raise ConfigError(f"{path}: is larger than {limit}; check that it is the YAML file")
    return data


def _require_regular(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise ConfigError(f"{path}: is {kind}; name the YAML file itself")


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode().removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as exc:
        problems = Problems(path)
        good = data[: exc.start].decode()
        what = f"byte {data[exc.start]:#04x} is not UTF-8 text"
        problems.add(place_of(good, len(good)), what, "save the file in UTF-8")
        raise problems.error() from exc
