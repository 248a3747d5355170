"""Volumes and peers that live as long as the run: made, mounted, unmounted, deleted."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.machine import mountpoints
from tests.benchmarks.processes import daemons_of
from tests.benchmarks.scenario import Side
from tierfs.common.errors import TierfsError

PREFIX: Final = "tierfs-bench-"
COMMAND_S: Final = 120.0
"""Seconds after which a command is given up."""
END_S: Final = 30.0
"""Seconds that a daemon has to end after it was unmounted."""
STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHECKOUT: Final = Path(__file__).parents[2]
FLOOR_SOURCE: Final = Path(__file__).with_name("floor.c")
COUNTERS: Final = "user.disk.counters"
READY: Final = "is mounted on"
SETTLING_S: Final = 60.0
IDLE_S: Final = 0.1
"""Longer than any access: when the counters stay for so long, the head has nothing to do."""
NO_FASTPATH: Final = "--no-fastpath"

Program = Sequence[str]
"""The words of a command line that run a tierfs; its verb and options follow."""


@dataclass(frozen=True, slots=True)
class Drive:
    """A simulated disk that is mounted on ``path``, served by ``process``."""

    path: Path
    process: subprocess.Popen[str]

    def counters(self) -> dict[str, float]:
        """What the head has done since the last reset, and begin again."""
        told: dict[str, float] = json.loads(os.getxattr(self.path, COUNTERS))
        os.setxattr(self.path, COUNTERS, b"0")
        return told

    def settle(self) -> None:
        """Wait until the head is idle: read-ahead of what nobody reads belongs to no turn."""
        deadline, before = time.monotonic() + SETTLING_S, b""
        while (now := os.getxattr(self.path, COUNTERS)) != before and time.monotonic() < deadline:
            before = now
            time.sleep(IDLE_S)

    def stop(self) -> None:
        """Unmount it and wait for its end."""
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            if self.process.stdout:
                self.process.stdout.close()
            _unmount(self.path)


class Stage:
    """Makes sides in new directories. What it made is undone in reverse by ``undo``."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo

    def directory(self, place: Path) -> Path:
        """A new directory in ``place``. Raises OSError when it cannot be made."""
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self._undo.callback(_delete, made)
        return made

    def later(self, work: Callable[[], object]) -> None:
        """Call ``work`` when the stage is cleared, before what was made earlier is undone."""
        self._undo.callback(work)

    def volume(
        self,
        home: Path,
        name: str,
        program: Program,
        *options: str,
        disk: Path | None = None,
        settings: str = "",
    ) -> Side:
        """A new tierfs volume in ``home``, mounted by ``program`` with ``options``.

        Its disk directory is ``disk``, which must be empty, or a new one; ``settings`` are further
        lines of its volume file.

        Raises:
            TierfsError: a command failed.
        """
        mountpoint = home / name  # as deep as what it is compared with
        root = home / f"{name}.volume"
        flash, disk = root / "flash", disk or root / "disk"
        for directory in (flash, disk, mountpoint):
            directory.mkdir(parents=True, exist_ok=True)
        file = root / "volume.yaml"
        run([*program, "init", str(file), "--flash", str(flash), "--disk", str(disk)])
        with file.open("a", encoding="utf-8") as text:
            text.write("log: {format: text, level: info, file: daemon.log}\n" + settings)
        self._mount(mountpoint, [*program, "mount", *options, str(file), str(mountpoint)])
        return Side(name, mountpoint)

    def peer(self, home: Path, name: str, below: Path) -> Side | None:
        """Another filesystem over the directory ``below``; None when it is not installed.

        ``name`` is that of its program, which must take ``BELOW MOUNTPOINT``: the defaults.

        Raises:
            TierfsError: its command failed.
        """
        program = shutil.which(name)
        if program is None:
            return None
        mountpoint = home / name
        mountpoint.mkdir()
        self._mount(mountpoint, [program, str(below), str(mountpoint)])
        return Side(name, mountpoint)

    def floor(self, home: Path, name: str, store: Path | None = None) -> Side | None:
        """What a filesystem in user space costs at least: see `floor.c`; None without a C compiler.

        ``store``: an empty directory that keeps the bytes of files; else nothing does.

        Raises:
            TierfsError: a command failed.
        """
        compiler = shutil.which("cc")
        if compiler is None:
            return None
        mountpoint, program = home / name, home / "floor.program"
        mountpoint.mkdir()
        run([compiler, "-O2", "-std=c11", "-D_GNU_SOURCE", str(FLOOR_SOURCE), "-o", str(program)])
        self._mount(mountpoint, [str(program), str(mountpoint), *map(str, filter(None, [store]))])
        return Side(name, mountpoint)

    def ext4(self, home: Path, size: int) -> Path:
        """A new ext4 of ``size`` bytes in an image in ``home``, on a loop device, mounted.

        Raises:
            TierfsError: it cannot be made here.
        """
        image, at = home / "ext4.image", home / "ext4"
        with image.open("xb") as file:
            file.truncate(size)
        run(["mkfs.ext4", "-q", str(image)])
        at.mkdir()
        self._undo.callback(_unmount, at)
        run(["mount", "-o", "loop", str(image), str(at)])
        return at

    def drive(self, home: Path, *options: str) -> Drive:
        """A simulated disk in ``home``, as slow as ``options`` of the disk simulator say.

        What is in ``home/backing`` already is on it.

        Raises:
            TierfsError: it cannot be mounted.
        """
        backing, path, errors = home / "backing", home / "drive", home / "errors.txt"
        for directory in (backing, path):
            directory.mkdir(parents=True, exist_ok=True)
        with errors.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.benchmarks",
                    "disk",
                    *options,
                    str(backing),
                    str(path),
                ],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                start_new_session=True,  # Ctrl-C is for us, who unmount what is above it first
            )
        drive = Drive(path, process)
        self._undo.callback(drive.stop)
        if process.stdout is None or not any(READY in line for line in process.stdout):
            why = errors.read_text("utf-8").strip()
            raise TierfsError(f"no disk could be simulated: {why}")
        return drive

    def _mount(self, mountpoint: Path, words: Sequence[str]) -> None:
        self._undo.callback(_unmount, mountpoint)
        run(words)
        for pid in daemons_of(mountpoint):
            self._undo.callback(_end, os.pidfd_open(pid))
        # Callbacks run in reverse: unmount first, then wait for the daemons that served it.
        self._undo.callback(_unmount, mountpoint)


def has_option(program: Program, verb: str, option: str) -> bool:
    """Whether a verb of this tierfs knows an option."""
    return option in run([*program, verb, "--help"])


def run(words: Sequence[str]) -> str:
    """What a command prints.

    Raises:
        TierfsError: it failed, or took too long.
    """
    try:
        # A daemon keeps what it inherits: a pipe would be read to an end that never comes.
        with tempfile.TemporaryFile() as printed:
            done = subprocess.run(
                words,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_S,
            )
            printed.seek(0)
            said = printed.read().decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TierfsError(f"{' '.join(words)}: {error}") from error
    if done.returncode != 0:
        raise TierfsError(f"{' '.join(words)} ended with {done.returncode}: {said.strip()}")
    return said


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage that is cleared in the end, also after Ctrl-C; a second Ctrl-C does not stop that."""
    with _stopping_like_interrupt(), ExitStack() as outer:
        undo = ExitStack()
        outer.callback(_undisturbed, undo.close)
        yield Stage(undo)


@contextmanager
def _stopping_like_interrupt() -> Iterator[None]:
    before = {number: signal.signal(number, _stop) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _undisturbed(work: Callable[[], None]) -> None:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        work()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _unmount(mountpoint: Path) -> None:
    """Unmount it if it is mounted, lazily when it is in use or does not answer."""
    for words in (["umount"], ["umount", "-l"], ["fusermount3", "-u", "-z"]):
        # The kernel's table is asked, not the mount, which may be dead or hang.
        if mountpoint not in mountpoints():
            return
        with suppress(TierfsError):
            run([*words, str(mountpoint)])


def _end(process: int) -> None:
    """Wait for a daemon's end, a descriptor of pidfd_open(2); then ask it to end."""
    with suppress(ProcessLookupError):
        if not _ended(process):
            signal.pidfd_send_signal(process, signal.SIGTERM)
            _ended(process)
    os.close(process)


def _ended(process: int) -> bool:
    """Whether the process ends in time: its descriptor becomes readable then."""
    return bool(select.select([process], [], [], END_S)[0])


def _delete(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
