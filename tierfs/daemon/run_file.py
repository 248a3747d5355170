"""The run file of a daemon, which tells commands where it serves, and what dead daemons left.

``runtime.py`` is the side of the commands.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final
from uuid import UUID

from tierfs.daemon.mountinfo import Mount, mounts
from tierfs.daemon.runtime import (
    EPITAPH,
    Run,
    content_of,
    make_private,
    run_in,
    runs,
    runtime_directory,
    start_time,
)

log = logging.getLogger(__name__)

CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
"""Documentation/filesystems/fuse/fuse.rst of Linux; empty where fusectl is not mounted."""


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
        return self._path.with_suffix(EPITAPH)

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
        found = run_in(self._path)
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
            if json.loads(content_of(aside)) != asdict(run):  # the next daemon has come meanwhile
                with suppress(FileExistsError):
                    path.hardlink_to(aside)
            else:
                path.with_suffix(EPITAPH).unlink(missing_ok=True)
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
