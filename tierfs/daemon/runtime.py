"""The runtime directory: control sockets and run files.

The run file ``UUID.json`` next to ``UUID.sock`` says which daemon serves the volume, where, and in
which state, so that a command need not ask the mount, which may hang, or may be unmounted while
its daemon still writes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

from tierfs.common.errors import VolumeBusy
from tierfs.daemon.mountinfo import Mount, mounts

log = logging.getLogger(__name__)

State = Literal["starting", "serving", "closing"]
"""Not yet mounted; mounted, or in use after a lazy unmount; unmounted, and closing the volume."""

MAX_BYTES: Final = 64 * 1024
"""Of a run file: more is not read."""
CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
"""Documentation/filesystems/fuse/fuse.rst of Linux; empty where fusectl is not mounted."""

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


class RunFile:
    """The run file of this daemon, which holds the volume's lock."""

    def __init__(self, uuid: UUID, volume: Path, mountpoint: Path) -> None:
        """Write that the daemon starts. The mount works even if the file cannot be written.

        What daemons left that were killed, and are not mounted any more, is removed.
        """
        pid = os.getpid()
        _remove_ended()
        self._path = runtime_directory(os.geteuid()) / f"{uuid}.json"
        with suppress(OSError):
            self.epitaph.unlink()
        self._put(
            Run(
                uuid=str(uuid),
                pid=pid,
                started=start_time(pid) or 0,
                volume=os.fspath(volume),
                mountpoint=os.fspath(mountpoint),
                device="",
                mount_id=0,
                state="starting",
                since=time.time(),
            )
        )

    @property
    def epitaph(self) -> Path:
        """Where the supervisor says why it has given the mount up."""
        return self._path.with_suffix(_EPITAPH)

    def serving(self, mount: Mount | None) -> None:
        """Write that the mount answers."""
        device, number = (mount.device, mount.number) if mount else ("", 0)
        self._put(
            replace(self._run, state="serving", device=device, mount_id=number, since=time.time())
        )

    def closing(self) -> None:
        """Write that the mount has ended, and the volume is being closed; again: that stays."""
        if self._run.state == "closing":
            return
        self._put(replace(self._run, state="closing", since=time.time()))

    def remove(self) -> None:
        """Delete the file, unless it is already the next daemon's."""
        found = _read(self._path)
        if found is not None and found.pid == self._run.pid:
            with suppress(OSError):
                self._path.unlink()

    def _put(self, run: Run) -> None:
        self._run = run
        try:
            make_private(self._path.parent)
            self._write()
        except OSError as error:
            log.warning("%s: cannot be written: %s", self._path, error.strerror or error)

    def _write(self) -> None:
        """Replace the file in one step: a command may read it at any moment."""
        descriptor, temporary = tempfile.mkstemp(prefix=".run-", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
                json.dump(asdict(self._run), file)
                os.fchmod(descriptor, 0o644)
            Path(temporary).replace(self._path)
        except OSError:
            with suppress(OSError):
                Path(temporary).unlink()
            raise


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
    return [run for path in paths if (run := _read(path)) is not None]


def _remove_ended() -> None:
    """Remove the run files of this user's daemons that are dead, as are their mounts, if any."""
    home = runtime_directory(os.geteuid())
    there = {(mount.device, mount.source) for mount in mounts()}
    for run in runs():
        if run.alive() or (run.device, run.volume) in there or _is_known(run.device):
            continue
        path, aside = home / f"{run.uuid}.json", home / f".ended-{os.getpid()}"
        with suppress(OSError):
            path.rename(aside)
            if json.loads(_content(aside)) != asdict(run):  # the next daemon has come meanwhile
                with suppress(FileExistsError):
                    path.hardlink_to(aside)
            else:
                path.with_suffix(_EPITAPH).unlink(missing_ok=True)
            aside.unlink()
    _remove_sockets(home)


def _is_known(device: str) -> bool:
    """Whether FUSE has a filesystem with this number, be it in another mount namespace, or dead."""
    number = device.rpartition(":")[2]
    return bool(number) and (CONNECTIONS / number).is_dir()


def _remove_sockets(home: Path) -> None:
    """Remove the control sockets of this user's daemons that are dead."""
    with suppress(OSError):
        if home.lstat().st_uid != os.geteuid():
            return
    for path in home.glob("*.sock"):
        with suppress(OSError, ValueError):  # ValueError: not named by a UUID, so no control socket
            UUID(path.stem)
            if not _is_served(path):
                _remove_unserved(path)


def _is_served(path: Path) -> bool:
    """Whether a control socket has a run file, which a daemon writes before it makes the socket.

    Or a daemon that could not write that, and listens.
    """
    if path.with_suffix(".json").exists():
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        return client.connect_ex(os.fspath(path)) != errno.ECONNREFUSED


def _remove_unserved(path: Path) -> None:
    """Remove a control socket, unless the next daemon has made it meanwhile."""
    aside = path.parent / f".ended-{os.getpid()}"
    path.rename(aside)
    if path.with_suffix(".json").exists():
        with suppress(FileExistsError):
            path.hardlink_to(aside)
    aside.unlink()


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
                written = _content(home / f"{run.uuid}{_EPITAPH}")
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
    return session / "tierfs" if session.is_dir() else Path(tempfile.gettempdir(), f"tierfs-{uid}")


def _read(path: Path) -> Run | None:
    """The content of a run file; root reads those of other users, who may write anything there."""
    try:
        said = json.loads(_content(path))
        run = Run(**said)
        kinds = [type(value) for value in asdict(run).values()]
        same = UUID(path.stem) == UUID(run.uuid)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return run if kinds == _KINDS and same else None


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, MAX_BYTES) if regular else b""
    finally:
        os.close(descriptor)


_EPITAPH: Final = ".dead"

_KINDS: Final = [str, int, int, str, str, str, int, str, float]
