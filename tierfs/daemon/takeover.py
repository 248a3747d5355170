"""The daemon's side of its supervisor: what it leaves there, and what it takes over.

A daemon that is supervised leaves with its supervisor what the next one needs to serve the
mount (`tierfs.daemon.supervisor`). That one answers the same connection: no program notices more
than a pause. Nothing of this daemon's memory is needed for that, so it may end in any way, even by
SIGKILL: what is in the index and the objects is recovered as after any unclean end.
"""

from __future__ import annotations

import base64
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from tierfs.common.collector import spare_what_is_there
from tierfs.common.errors import TierfsError
from tierfs.common.metrics import Metrics
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.supervisor import is_over, receive, send
from tierfs.fs.lookup_counts import Descriptors
from tierfs.policy.volume_file import VolumeFile

log = logging.getLogger(__name__)

Prepared = TypeVar("Prepared")

INIT: Final = struct.Struct("<40x5I")
"""The message INIT of FUSE: its header, then major, minor, max_readahead, flags and flags2."""
INIT_EXT: Final = 1 << 30
HAS_RESEND: Final = 1 << (39 - 32)
"""Of flags2: the kernel can send requests again, Linux 6.9 (include/uapi/linux/fuse.h)."""

COPY_AFTER_S: Final = 0.1
"""Before a copy reads the files of the configuration: not while programs wait for the takeover."""

ENDED_OTHERWISE: Final = 70
"""The exit status of a daemon that ends while its mount lives."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier daemon left: the connection, and the descriptors of the volume."""

    device: int
    descriptors: Descriptors
    init: bytes
    max_write: int
    mount: Mount
    restarts: int
    upgrades: int
    """How many of these were upgrades."""
    why: str
    """How it ended."""
    since: float
    """When, in seconds since the epoch."""
    background: bool
    """Whether no process reads what is printed."""
    flash: Path
    disk: Path
    index: Path
    """Of the volume file, as it was when the mount was made."""


class Restarts(NamedTuple):
    """How often a mount was taken over, and the last time."""

    number: int
    why: str
    at: float


class Supervised:
    """A daemon's end of the socket to its supervisor."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._lock = threading.Lock()
        self._device: int | None = None
        self._stalled: float | None = None
        self.earlier: Earlier | None = None
        self.background = False
        self._remembered: dict[str, str] = {}
        self._refusal = "the mount does not answer yet"

    @property
    def refusal(self) -> str:
        """Why no daemon would take over; empty: one would."""
        return "the supervisor is gone" if is_over(self._socket.fileno()) else self._refusal

    def refuse(self, why: str) -> None:
        """No daemon can take over this mount."""
        self._refusal = why
        log.warning("nobody takes over this mount when the daemon ends: %s", why)

    def wait(self, prepare: Callable[[], Prepared]) -> tuple[Prepared, Earlier | None]:
        """Prepare, then wait for the turn to serve; None: there is nothing to take over, mount.

        When the turn comes, this process makes a copy of itself, which prepares and waits likewise.
        Ends the process if it is not needed.
        """
        while True:
            prepared = prepare()
            # What there is now stays: at a takeover half of the time would go into looking at it.
            spare_what_is_there()
            send(self._socket, {"is": "waiting", "pid": os.getpid(), "makes_copies": True})
            packet, descriptors = receive(self._socket)
            if packet is None:
                os._exit(0)
            if packet.get("wanted") and self._is_copy(descriptors.pop(), descriptors):
                continue
            return prepared, self._begin(packet, descriptors)

    def _is_copy(self, theirs: int, descriptors: Sequence[int]) -> bool:
        """Copy this process; returns whether it is the copy, with the socket ``theirs``.

        The copy is a child of the supervisor, as its parent ends at once.
        """
        try:
            if child := os.fork():
                os.waitpid(child, 0)
                os.close(theirs)
                return False
        except OSError as error:
            log.warning("no standby: %s", error)
            os.close(theirs)
            return False
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            os._exit(1)
        for each in descriptors:
            os.close(each)
        self._socket.close()
        self._socket = socket.socket(fileno=theirs)
        time.sleep(COPY_AFTER_S)
        return True

    def _begin(self, packet: dict[str, Any], descriptors: Sequence[int]) -> Earlier | None:
        """The supervisor lets this process serve."""
        record = packet["record"]
        if record is not None:
            device, *others = descriptors
            self.earlier = Earlier(
                device=device,
                descriptors=Descriptors(*others),
                init=base64.b64decode(record["init"]),
                max_write=record["max_write"],
                mount=Mount(**{**record["mount"], "path": Path(record["mount"]["path"])}),
                restarts=record["restarts"],
                upgrades=record.get("upgrades", 0),  # the supervisor may be an older tierfs
                why=record["why"],
                since=record["since"],
                background=record["background"],
                flash=Path(record["flash"]),
                disk=Path(record["disk"]),
                index=Path(record["index"]),
            )
            self._device = os.dup(device)
            self._refusal = ""
        return self.earlier

    def failed(self, why: str) -> None:
        """Say why this daemon is about to end."""
        try:
            send(self._socket, {"is": "failed", "why": why})
        except OSError as error:
            log.warning("the supervisor does not answer: %s", error)

    def remember(self, settings: VolumeFile, epitaph: Path) -> None:
        """What the record is to have of the volume; before ``keep``.

        ``epitaph``: where the supervisor is to say why it gives the mount up.
        """
        paths = {"flash": settings.flash, "disk": settings.disk, "index": settings.index}
        paths["epitaph"] = epitaph
        self._remembered = {name: os.fspath(path) for name, path in paths.items()}

    def keep(
        self,
        device: int,
        descriptors: Descriptors,
        init: bytes,
        max_write: int,
        mount: Mount | None,
    ) -> None:
        """The mount answers: leave with the supervisor what a takeover needs."""
        if self.earlier is not None:
            stalled = time.time() - self.earlier.since
            self._stalled = round(stalled, 3)
            log.warning(
                "took over %s after %.3f s (takeover %d): %s",
                self.earlier.mount.path,
                stalled,
                self.earlier.restarts,
                self.earlier.why,
            )
            self._say_serving(None, [])
            return
        if not can_resend(init):
            self.refuse("the kernel sends no request again, for which it must be Linux 6.9")
        elif mount is None:
            self.refuse("the mount is not in the list of mounts")
        else:
            record = {
                "init": base64.b64encode(init).decode(),
                "max_write": max_write,
                "background": self.background,
                **self._remembered,
                "mount": {**asdict(mount), "path": os.fspath(mount.path)},
            }
            self._device = os.dup(device)
            self._refusal = ""
            self._say_serving(record, [device, *descriptors])

    def _say_serving(self, record: dict[str, Any] | None, descriptors: Sequence[int]) -> None:
        try:
            send(self._socket, {"is": "serving", "record": record}, descriptors)
        except OSError as error:
            self.refuse(f"the supervisor does not answer: {error.strerror}")

    @property
    def restarts(self) -> Restarts:
        """See ``Restarts``."""
        earlier = self.earlier
        return (
            Restarts(earlier.restarts, earlier.why, earlier.since)
            if earlier
            else Restarts(0, "", 0)
        )

    def count(self, metrics: Metrics) -> None:
        """Export how often the mount was taken over, once it answers."""
        earlier = self.earlier
        upgrades = earlier.upgrades if earlier else 0
        metrics.takeovers.labels("upgrade").inc(upgrades)
        metrics.takeovers.labels("killed").inc(self.restarts.number - upgrades)
        metrics.takeover_seconds.set(self._stalled or 0)

    def would_be_replaced(self) -> bool:
        """Whether another daemon takes over if this one ends now: the mount lives."""
        return self._device is not None and not self.refusal and not is_over(self._device)

    def leave_to_next(self) -> NoReturn:
        """End the process, and do nothing else."""
        logging.shutdown()
        os._exit(ENDED_OTHERWISE)

    def upgrade(self, command: list[str]) -> None:
        """Let the tierfs of ``command`` take over; this process is killed when that is ready.

        Raises:
            TierfsError: it is not possible, or the other one does not start.
        """
        if refusal := self.refusal:
            raise TierfsError(f"nobody can take over this mount: {refusal}")
        with self._lock:
            try:
                send(self._socket, {"is": "upgrade", "command": command})
                packet, _ = receive(self._socket)
            except OSError as error:
                raise TierfsError(f"the supervisor does not answer: {error.strerror}") from error
        raise TierfsError(packet["why"] if packet else "the supervisor is gone")

    def status(self) -> dict[str, Any]:
        """What ``tierfs status`` shows; ``last_at`` in seconds since the epoch."""
        number, why, at = self.restarts
        return {
            "pid": os.getppid(),
            "takes_over": not self.refusal,
            "refusal": self.refusal or None,
            "restarts": number,
            "last_reason": why or None,
            "last_at": at or None,
            "stalled_s": self._stalled,
        }


def can_resend(init: bytes) -> bool:
    """Whether the kernel that sent ``init`` can send requests again."""
    if len(init) < INIT.size:
        return False
    _, _, _, flags, flags2 = INIT.unpack_from(init)
    return bool(flags & INIT_EXT and flags2 & HAS_RESEND)
