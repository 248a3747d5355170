"""The marker in each directory of a volume: which volume, which tier, which format.

It prevents that a wrong pair of directories, a foreign directory or a newer format is mounted, and
its lock excludes a second daemon. Its generation equals that of the index, which reveals an index
or a directory that is an older copy. The marker of flash also stores which damage a check found.

A marker is never replaced, since its lock is on the inode. It is written in place: all of it lies
in one sector, which a device writes whole or not at all, and its length stays the same. So it needs
no room on a full filesystem either.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import uuid
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from tierfs.common.beneath import make_private, open_file
from tierfs.common.errors import VolumeBusy, VolumeEnded, VolumeRefused, printable
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.sync import sync_file

MARKER = ".tierfs"
"""The marker's name in a tier's directory."""

MARKER_BYTES = 512
"""The length of a marker, blanks behind the JSON included: a sector. One that was made before there
were generations is shorter, until it gets one."""

MOST_DAMAGE = 120
"""Characters of a note of damage at most."""

FORMAT = 1
"""The version of the layout on flash and disk; docs/reference/on-disk-format.md."""

Tier = Literal["flash", "disk"]

LOCKS = Path("/proc/locks")

_AFTER_LOSS: dict[Tier, str] = {
    "flash": "If it is lost: 'tierfs replace-flash VOLUME.yaml NEW'. ",
    "disk": "",
}

LAST_FORMAT = 10_000
"""A larger number is not a version but damage."""

MOST_SHOWN = 80
"""Characters of a damaged marker that a message shows."""

MODE = 0o600
"""Of a marker: who can open it can hold a lock on it, and so keep tierfs out."""

MOST = 4096
"""Bytes of the largest marker that is read."""

IGNORED = frozenset({"lost+found"})
"""What a fresh filesystem holds: a directory with only this is empty."""


ALIGNED = 4096
"""Bytes of an aligned read that every device and filesystem with O_DIRECT takes."""


class Marker(NamedTuple):
    """What a marker says."""

    volume: uuid.UUID
    tier: Tier
    generation: str = ""
    """UUID of the last writable mount; empty: there was none since there are generations."""
    damage: str = ""
    """What the last check found to be damaged; empty: nothing, or there was none."""
    thorough: bool = False
    """Whether that was a thorough check: another one may not see the damage."""
    ended: str = ""
    """The directory that the files were brought to when the volume was given up; empty: it was not.

    Reading such a marker is refused."""


def check_formattable(directory: Path, tier: Tier) -> None:
    """Refuse a directory that is missing, not a directory, or not empty.

    Raises:
        VolumeRefused: with the reason and what to do.
    """
    if not directory.exists():
        raise VolumeRefused(
            f"{directory}: the {tier} directory does not exist: make it, or correct the path"
        )
    if not directory.is_dir():
        raise VolumeRefused(f"{directory}: is not a directory, so it cannot hold the {tier} tier")
    if (directory / MARKER).exists():
        raise VolumeRefused(
            f"{directory}: already belongs to a tierfs volume (it holds {MARKER}): "
            "mount that one, or choose another directory"
        )
    others = sorted({entry.name for entry in directory.iterdir()} - IGNORED)
    if others:
        raise VolumeRefused(
            f"{directory}: is not empty (it holds {others[0]!r}): choose an empty directory"
        )


def write_marker(directory: Path, marker: Marker) -> None:
    """Make ``directory`` a tier of the volume, durably.

    Raises:
        OSError: it could not be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(directory / MARKER, flags, MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_text(marker))
        file.flush()
        sync_file(file.fileno())
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(directory_fd)
    finally:
        os.close(directory_fd)


def rewrite_marker(directory: Path, marker: Marker, os_: Os = SYSTEM) -> None:
    """Let the marker of ``directory``, which the caller has locked, say this, durably.

    Raises:
        OSError: it could not be written; it says what it said before, or this.
    """
    os_.call(f"{marker.tier}.mark", _rewrite, directory / MARKER, _text(marker).encode())


def _rewrite(path: Path, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        length = os.fstat(fd).st_size
        if length < MARKER_BYTES:
            # First the length, with blanks that change nothing: else a power cut could leave the
            # one without the other.
            os.pwrite(fd, b" " * (MARKER_BYTES - length), length)
            sync_file(fd)
        os.pwrite(fd, text, 0)
        sync_file(fd)
    finally:
        os.close(fd)


def _text(marker: Marker) -> str:
    content: dict[str, object] = {
        "format": FORMAT,
        "volume": str(marker.volume),
        "tier": marker.tier,
    }
    if marker.generation:
        content["generation"] = marker.generation
    if marker.damage:
        content["damage"] = marker.damage[:MOST_DAMAGE]
        content["thorough"] = marker.thorough
    text = json.dumps(content)
    for length in range(len(marker.ended), 0, -1):
        text = json.dumps({**content, "ended": marker.ended[:length]})
        if len(text) < MARKER_BYTES:  # else a path is shortened
            break
    return text.ljust(MARKER_BYTES - 1) + "\n"


def read_marker(directory: Path, tier: Tier) -> Marker:
    """The marker of ``directory``, which must be a ``tier``.

    Raises:
        VolumeRefused: there is none, it is damaged, of a newer format or of the other tier;
            VolumeEnded, the volume was given up.
    """
    path = directory / MARKER
    try:
        marker = _parse(_content(path))
    except FileNotFoundError:
        lacks = f"no {MARKER} in it" if directory.exists() else "it does not exist"
        raise VolumeRefused(
            f"{directory}: is not the {tier} directory of a tierfs volume ({lacks}): "
            f"is its filesystem mounted? {_AFTER_LOSS[tier]}A new volume is made by 'tierfs init'"
        ) from None
    except OSError as exc:
        raise VolumeRefused(f"{path}: {exc.strerror}") from exc
    except _Newer as exc:
        raise VolumeRefused(
            f"{path}: format {exc} is newer than the {FORMAT} this tierfs knows: upgrade tierfs"
        ) from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
        raise VolumeRefused(f"{path}: the marker is damaged ({printable(str(exc))})") from exc
    if marker.tier != tier:
        raise VolumeRefused(
            f"{directory}: holds the {marker.tier} tier, not the {tier} tier: are the two swapped?"
        )
    if marker.ended:
        raise VolumeEnded(
            f"{directory}: volume {marker.volume} was given up by 'tierfs export --give-up': its "
            f"files are in {printable(marker.ended)}. To use the directory for another volume, "
            f"empty it: remove {path}",
            marker.ended,
        )
    return marker


class _Newer(Exception):
    """The format of a marker that only a newer tierfs can read."""


def _open_marker(path: Path) -> int:
    """Open a marker, wherever the links to its directory lead; from now on it is ours alone."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = open_file(path.name, os.O_RDONLY, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        make_private(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _content(path: Path) -> str:
    with os.fdopen(_open_marker(path), "rb") as file:
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise ValueError(f"more than {MOST} bytes")
    return data.decode("utf-8")


def _parse(text: str) -> Marker:
    content = json.loads(text.rstrip("\0 \n"))  # NUL: a power cut while blanks were added
    layout = int(content["format"])
    if FORMAT < layout <= LAST_FORMAT:
        raise _Newer(layout)
    tier = content["tier"]
    if layout != FORMAT or tier not in get_args(Tier):
        raise ValueError(f"format {layout}, tier {tier}"[:MOST_SHOWN])
    generation, damage = content.get("generation", ""), content.get("damage", "")
    if not isinstance(generation, str) or not isinstance(damage, str):
        raise TypeError(f"generation {generation}, damage {damage}"[:MOST_SHOWN])
    volume, ended = uuid.UUID(str(content["volume"])), str(content.get("ended", ""))
    return Marker(volume, tier, generation, damage, content.get("thorough") is True, ended)


def _holder(fd: int) -> str:
    """Who holds a lock on a file, as far as it is to be seen from here: proc_locks(5).

    Before markers were private any program could; it is not tierfs that must be ended then.
    """
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    try:
        for line in LOCKS.read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == f"{device}:{status.st_ino}" and words[4] != "0":
                program = Path(f"/proc/{words[4]}/comm").read_bytes().strip()
                return f"; its lock is held by process {words[4]} ({printable(program)})"
    except (OSError, ValueError, IndexError):
        return ""  # a filesystem or namespace in which it cannot be told
    return ""


class VolumeLock:
    """Holds a volume for one daemon, by flock(2) on a marker.

    Gone with the process, unless another has its descriptor as well.
    """

    def __init__(self, directory: Path, held: int | None = None) -> None:
        """``held``: the descriptor of the lock of an earlier daemon, to continue with."""
        if held is not None:
            self._fd = held
            return
        self._fd = _open_marker(directory / MARKER)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._fd)
            os.close(self._fd)
            raise VolumeBusy(
                f"{directory}: the volume is in use by another tierfs: unmount that one first "
                f"(one that was unmounted lazily ends with the last program that uses it){holder}"
            ) from None

    @property
    def descriptor(self) -> int:
        """That of the marker, open until ``release``."""
        return self._fd

    def release(self) -> None:
        """Let another daemon in."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)  # also for processes that inherited it
        os.close(self._fd)


def probe(directory: Path, tier: str, os_: Os, *, device: bool) -> None:
    """Return when the marker in ``directory`` was read; with ``device`` not from the page cache.

    A filesystem that has shut down fails the read either way.

    Raises:
        OSError: the device, or the filesystem on it, failed.
    """
    path = directory / MARKER
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os_.call(f"{tier}.open", os.open, path, flags | os.O_DIRECT * device)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os_.call(f"{tier}.open", os.open, path, flags)  # a filesystem in memory
    try:
        with mmap.mmap(-1, ALIGNED) as aligned:
            os_.call(f"{tier}.preadv", os.preadv, descriptor, [aligned], 0)
    finally:
        os.close(descriptor)
