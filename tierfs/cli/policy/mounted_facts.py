"""Asking the mounts that files lie on what their policies say of them, and telling that."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from tierfs.base.durations import SECOND, format_duration
from tierfs.base.errors import UsageError
from tierfs.base.text import printable
from tierfs.base.units import format_size
from tierfs.cli.waits import WAITS
from tierfs.mount.asking import ask
from tierfs.mount.mountinfo import mount_above

AT_ONCE: Final = 1000
"""Files in one request; a line of the control socket is bounded."""

_BECAUSE: Final = {
    "by hand": "asked for by hand",
    "pin by hand": "pinned by hand, whatever the rule says; see tierfs unpin",
    "pin": "the rule pins it",
    "promote": "it was read often enough to be promoted",
}


class Located(NamedTuple):
    """A file on a tierfs mount."""

    mountpoint: Path
    ino: int


def locate(path: bytes) -> Located:
    """Where to ask about the regular file ``path``.

    Raises:
        UsageError: it is no regular file, or not on a tierfs mount.
        OSError: it cannot be looked at.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{os.fsdecode(path)}: not a regular file; policies are about those only")
    mount = mount_above(Path(os.fsdecode(os.path.realpath(path))))
    if mount is None or not mount.is_tierfs:
        raise UsageError(f"{os.fsdecode(path)}: not on a tierfs mount; name a policy with --policy")
    return Located(mount.path, status.st_ino)


def explained(files: Iterable[Located]) -> dict[Located, dict[str, Any]]:
    """What the mounts answer of each file; one that is gone meanwhile is left out.

    Raises:
        NotMounted: a mount does not answer, or not to this user.
        UsageError: it has no policy.
    """
    by_mount: dict[Path, list[int]] = {}
    for file in files:
        by_mount.setdefault(file.mountpoint, []).append(file.ino)
    return {
        Located(mountpoint, int(ino)): found
        for mountpoint, inos in by_mount.items()
        for start in range(0, len(inos), AT_ONCE)
        for ino, found in _answer(mountpoint, inos[start : start + AT_ONCE]).items()
    }


def lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a mount knows of the file itself, and what follows, name and value."""
    yield "reads", _reads(found)
    where = f"{format_size(found['on_flash'])} of {format_size(found['size'])}"
    yield "on flash", where + (", copied to disk as well" if found["mirrored"] else "")
    because = _BECAUSE.get(found["why"])
    if found.get("pinned_by"):
        because = f"the directory {printable(found['pinned_by'])} pins it; see tierfs unpin -r"
    yield "wanted there", _prefix(found["wanted"]) + (f": {because}" if because else "")
    if found.get("waits"):
        yield "not yet", WAITS[found["waits"]] + ("; nothing may go for it" * found["stuck"])


def _answer(mountpoint: Path, inos: list[int]) -> dict[str, Any]:
    files: dict[str, Any] | None = ask(mountpoint, "policy explain", inos=inos)["files"]
    if files is None:
        raise UsageError(f"{mountpoint}: the mount has no policy; name one with --policy")
    return files


def _reads(found: dict[str, Any]) -> str:
    if found["reads"] is None:
        return "none known of late"
    last = ""
    if found["last_read"] is not None:
        ago = max(0.0, time.time() - found["last_read"])
        last = f", the last {format_duration(int(ago * SECOND))} ago"
    return f"{found['reads']:g} requests of late{last}"


def _prefix(wanted: int | str) -> str:
    if isinstance(wanted, str):
        return "all of it"
    return f"at least its first {format_size(wanted)}" if wanted else "nothing"
