"""The runtime directory: control sockets and run files.

The run file ``UUID.json`` next to ``UUID.sock`` says which daemon serves the volume, where, and in
which state, so that a command need not ask the mount, which may hang, or may be unmounted while
its daemon still writes. ``run_file.py`` is the side of the daemon.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from tierfs.common.errors import VolumeBusy
from tierfs.daemon.mountinfo import Mount

State = Literal["starting", "serving", "closing"]
"""Not yet mounted; mounted, or in use after a lazy unmount; unmounted, and closing the volume."""

MAX_BYTES: Final = 64 * 1024
"""Of a run file: more is not read."""
EPITAPH: Final = ".dead"
"""Ends the name of the file in which the supervisor says why it has given the mount up."""

_START_TIME: Final = 19
"""The field ``starttime`` of /proc/PID/stat, counted from the one after the name; see proc(5)."""


@dataclass(frozen=True, slots=True)
class Run:
    """The content of a run file: who serves a volume, and where."""

    uuid: str
    pid: int
    started: int
    """When the process began, in clock ticks since the boot: differs if the ID is reused."""
    volume: str
    """The volume file."""
    mountpoint: str
    device: str
    """Of the filesystem, as in mountinfo, such as ``0:45``; empty until it is mounted."""
    mount_id: int
    """Of the mount, which an unmounted one keeps while its files are open; 0 before."""
    state: State
    since: float
    """Of the state, in seconds since the epoch."""

    def serves(self, mount: Mount) -> bool:
        """Whether this is the daemon of ``mount``."""
        same = (self.device, self.volume) == (mount.device, mount.source)
        return same and self.alive()

    def alive(self) -> bool:
        """Whether the process still runs; a killed daemon leaves its run file."""
        return start_time(self.pid) == self.started


def socket_path(volume: UUID | str, owner: int | None = None) -> Path:
    """The control socket of ``volume`` if the user ``owner`` (default: this one) mounts it."""
    return runtime_directory(os.geteuid() if owner is None else owner) / f"{volume}.sock"


def runs(owner: int | None = None) -> list[Run]:
    """The run files of a user's daemons (default: this user), also of killed ones."""
    uid = os.geteuid() if owner is None else owner
    directory = runtime_directory(uid)
    try:
        if directory.lstat().st_uid != uid:  # in /tmp, made by somebody else
            return []
        paths = sorted(directory.glob("*.json"))
    except OSError:
        return []
    return [run for path in paths if (run := run_in(path)) is not None]


def require_alone(uuid: UUID) -> None:
    """Refuse to serve a volume and its copy at once: socket, log and run file are named by UUID.

    Raises:
        VolumeBusy: a daemon of this user, which holds other directories, has the UUID.
    """
    for run in runs():
        ours = run.pid == os.getpid() or run.state == "closing"
        if run.uuid == str(uuid) and not ours and run.alive():
            raise VolumeBusy(f"volume {uuid} is mounted on {run.mountpoint} by {run.volume}")


def run_of(mount: Mount) -> Run | None:
    """The daemon of ``mount``; None if there is none, or its run file cannot be read."""
    return next((run for run in runs(mount.owner) if run.serves(mount)), None)


def epitaph_of(mount: Mount) -> str:
    """Why the supervisor of ``mount``, which is dead, has given it up; empty if it has not."""
    home = runtime_directory(mount.owner)
    for run in runs(mount.owner):
        if (run.device, run.volume) == (mount.device, mount.source):
            with suppress(OSError):
                written = content_of(home / f"{run.uuid}{EPITAPH}")
                return written.decode(errors="surrogateescape").strip()
    return ""


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since the boot; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[_START_TIME])


def make_private(directory: Path) -> None:
    """Make ``directory``, in which only this user may write.

    In /tmp another user may have made it first, to listen in place of the daemon.

    Raises:
        OSError: it cannot be made, or is another user's.
    """
    directory.mkdir(mode=0o755, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(None, f"{directory} belongs to another user")
    # Others may read run files, and use a socket that belongs to their group.
    directory.chmod(0o755)


def runtime_directory(uid: int) -> Path:
    """Where the daemons of a user keep their files."""
    if uid == 0:
        return Path("/run/tierfs")
    if uid == os.geteuid() and (own := os.environ.get("XDG_RUNTIME_DIR")):
        return Path(own) / "tierfs"
    session = Path(f"/run/user/{uid}")
    if session.is_dir():
        return session / "tierfs"
    return Path(import_module("tempfile").gettempdir(), f"tierfs-{uid}")  # slow to load


def run_in(path: Path) -> Run | None:
    """The content of a run file; root reads those of other users, who may write anything there."""
    try:
        said = json.loads(content_of(path))
        run = Run(**said)
        kinds = [type(value) for value in asdict(run).values()]
        same = UUID(path.stem) == UUID(run.uuid)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return run if kinds == _KINDS and same else None


def content_of(path: Path) -> bytes:
    """The bytes of a run file, or of what somebody else has put in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, MAX_BYTES) if regular else b""
    finally:
        os.close(descriptor)


_KINDS: Final = [str, int, int, str, str, str, int, str, float]
