"""The helper programs through which mount(8) and fstab(5) reach tierfs: /sbin/mount.TYPE."""

from __future__ import annotations

import os
import shlex
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from tierfs.base.errors import TierfsError, UsageError
from tierfs.mount.interpreter import module_command

SBIN: Final = Path("/sbin")
NAMES: Final = ("mount.tierfs", "mount.fuse.tierfs")
"""mount(8) looks for the type of the command line, and for that of the kernel's mount table."""
SIGNATURE: Final = (
    "# Written by `tierfs install-helpers`; `tierfs install-helpers --remove` deletes it."
)
MODE: Final = 0o755


def install(directory: Path = SBIN) -> list[Path]:
    """Write the helpers into ``directory``; returns those that were not there already.

    Raises:
        UsageError: a file of that name is not tierfs's.
        TierfsError: the directory cannot be written.
    """
    paths = _ours(directory)
    stale = [path for path in paths if _content(path) != script()]
    for path in stale:
        _write(path, script())
    return stale


def remove(directory: Path = SBIN) -> list[Path]:
    """Delete the helpers from ``directory``; returns those that were there.

    Raises:
        UsageError: a file of that name is not tierfs's.
        TierfsError: a file cannot be deleted.
    """
    present = [path for path in _ours(directory) if _content(path) is not None]
    for path in present:
        try:
            path.unlink()
        except OSError as error:
            raise _cannot("deleted", path, error) from error
    return present


def script() -> str:
    """The helper: it runs the Python and the tierfs that run now."""
    return f"""\
#!/bin/sh
{SIGNATURE}
exec {shlex.join(module_command("tierfs.cli.mount_helper"))} "$@"
"""


def _ours(directory: Path) -> list[Path]:
    """The helpers' paths, none of which is a foreign file."""
    paths = [directory / name for name in NAMES]
    for path in paths:
        found = _content(path)
        if found is not None and SIGNATURE not in found:
            raise UsageError(f"{path} was not made by tierfs; move it away first")
    return paths


def _content(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from error


def _write(path: Path, text: str) -> None:
    """Replace ``path`` in one step: mount(8) may run it at any moment."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _cannot("written", path, error) from error
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).chmod(MODE)
        Path(temporary).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        raise _cannot("written", path, error) from error


def _cannot(done: str, path: Path, error: OSError) -> TierfsError:
    hint = "; try it with sudo" if isinstance(error, PermissionError) else ""
    return TierfsError(f"{path} cannot be {done}: {error.strerror}{hint}")
