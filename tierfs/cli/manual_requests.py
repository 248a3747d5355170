"""Asking for pins and moves of files by hand, and waiting until they are done.

A `Request` is one virtual attribute to set or remove on each file; the mount's mover sees to the
rest. `Requester` sets it, `PendingFiles` looks at the files until nothing is left to wait for.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, NamedTuple

import click

from tierfs.cli.files import (
    Placement,
    Reporter,
    files,
    placement_of,
    put,
    reason,
    remove,
    require_files,
)
from tierfs.cli.messages import counted
from tierfs.cli.progress import progress_bar
from tierfs.common.errors import ExitCode
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.text import printable
from tierfs.common.tierfs_xattrs import FOR_EVER, PIN, PREFIX, show_prefix
from tierfs.common.units import SECOND, format_duration, format_size
from tierfs.prewarm.find import require_daemon

TO_FLASH = "to flash"
TO_DISK = "to disk"
NOWHERE = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One attribute to set, or with ``value`` None to remove, on each file."""

    verb: str
    noted: str
    """What can be said of a file once it is noted."""
    done: str
    """What can be said of it once the bytes are moved."""
    name: str
    value: bytes | None
    moves: Callable[[Placement], int]
    """The bytes that are still to be moved for it."""
    reached: Callable[[Placement], bool]
    """Whether the bytes are where they belong."""
    is_noted: Callable[[Placement], bool]
    """Whether it is noted, so that the mover sees to it."""
    direction: str
    """Where bytes are moved."""

    def is_needless(self, placement: Placement) -> bool:
        """Whether asking would change nothing: the file is there, and nobody asks otherwise."""
        return self.name == PREFIX and self.reached(placement) and placement.requested is None

    def is_refused(self, placement: Placement) -> bool:
        """Whether a pin stands in the way: a pinned file is on flash whole."""
        return self.name == PREFIX and self.value != show_prefix(WHOLE_FILE) and placement.is_pinned


def pin_request(length: str | None) -> Request:
    """Keep files on flash whole; ``length`` as `parse_pin` reads it, or None without an end."""
    return Request(
        verb="pin",
        noted="pinned",
        done="brought to flash",
        name=PIN,
        value=length.encode() if length else FOR_EVER,
        moves=lambda placement: placement.disk,
        reached=lambda placement: not placement.disk,
        is_noted=lambda placement: placement.is_pinned,
        direction=TO_FLASH,
    )


UNPIN_REQUEST = Request(
    verb="unpin",
    noted="unpinned",
    done="unpinned",
    name=PIN,
    value=None,
    moves=lambda _: 0,
    reached=lambda placement: placement.pin is None,
    is_noted=lambda _: True,
    direction=NOWHERE,
)


def promote_request(prefix: int) -> Request:
    """Bring the first ``prefix`` bytes to flash; more may be there already."""

    def missing(placement: Placement) -> int:
        return max(0, min(placement.size, prefix) - placement.flash)

    return Request(
        verb="promote",
        noted="asked to promote",
        done="promoted",
        name=PREFIX,
        value=show_prefix(prefix),
        moves=missing,
        reached=lambda placement: not missing(placement),
        is_noted=lambda placement: placement.requested is not None,
        direction=TO_FLASH,
    )


DEMOTE_REQUEST = Request(
    verb="demote",
    noted="asked to demote",
    done="demoted",
    name=PREFIX,
    value=show_prefix(0),
    moves=lambda placement: placement.flash,
    reached=lambda placement: placement.prefix == 0,
    is_noted=lambda placement: placement.requested is not None,
    direction=TO_DISK,
)


@dataclass(frozen=True, slots=True)
class Options:
    """How a command is to go about its files."""

    null: bool
    recursive: bool
    dry_run: bool
    patience: float | None
    """Seconds to wait until the files are moved; None: not at all."""


# ------------------------------------------------------------------ asking

STAYS: Final = "what was asked for stays, and is done when the mount comes to it"


def ask_for(request: Request, words: tuple[str, ...], options: Options) -> int:
    """Do what a command line says; returns the exit code.

    Raises:
        UsageError: it makes no sense.
        NotMounted: a mount's daemon is gone.
        click.Abort: Ctrl-C.
    """
    require_files(request.verb, words, null=options.null)
    reporter = Reporter()
    requester = Requester(request, reporter, dry_run=options.dry_run)
    waiting = PendingFiles(request, reporter)
    try:
        for path in files(
            words,
            reporter,
            null=options.null,
            recursive=options.recursive,
            directory=requester.ask_directory,
        ):
            if (one := requester.ask(path)) and options.patience is not None:
                waiting.add(one)
        requester.tell()
        if waiting.left:
            in_time = _wait(waiting, request, requester, options.patience or 0)
            if waiting.reached:
                click.echo(f"{counted(waiting.reached, 'file', 'files')} {request.done}")
            if not in_time:
                return ExitCode.UNEXPECTED
    except KeyboardInterrupt:
        requester.tell_interrupted(waiting.left)
        raise click.Abort from None
    finally:
        reporter.tell_skipped()
    return reporter.exit_code


class Requester:
    """Asks for one thing, file by file, and counts."""

    def __init__(self, request: Request, reporter: Reporter, *, dry_run: bool) -> None:
        self._request = request
        self._reporter = reporter
        self._dry_run = dry_run
        self.files = 0
        self.bytes = 0
        self.directories = 0
        self._needless = 0
        self._told = False
        self._pinned: list[bytes] = []
        """Directories that were pinned, each with a slash at its end."""
        self._pinning: set[str] = set()
        """Directories whose pins still hold what was to be unpinned."""

    def ask_directory(self, path: bytes) -> None:
        """Pin or unpin a directory, and so what is made in and below it later.

        Where that is not allowed, or an older daemon does not know it, its files are pinned alone.

        Raises:
            NotMounted: the mount's daemon is gone.
        """
        request = self._request
        if request.name != PIN or self._dry_run:
            return
        try:
            if request.value is None:
                device = os.lstat(path).st_dev
                for root, below, _ in os.walk(path):
                    self.directories += remove(root, PIN)
                    below[:] = [
                        name
                        for name in below
                        if os.lstat(os.path.join(root, name)).st_dev == device  # noqa: PTH118
                    ]
            else:
                put(path, PIN, request.value)
                self._pinned.append(path.rstrip(b"/") + b"/")
                self.directories += 1
        except OSError as error:
            require_daemon(error, path)
            what = f"what is made in it later is not {request.noted}"
            click.echo(f"tierfs: {printable(path)}: {what}: {reason(error)}", err=True)

    def ask(self, path: bytes) -> Pending | None:
        """Ask for one file, or with ``dry_run`` say so; None: there is nothing to wait for.

        Raises:
            NotMounted: the mount's daemon is gone.
        """
        try:
            placement = placement_of(path)
            if self._request.is_needless(placement) or not self._noted(path, placement):
                self._needless += 1
                return None
        except OSError as error:
            self._reporter.failed(path, error)
            return None
        self.files += 1
        self.bytes += self._request.moves(placement)
        return None if self._dry_run else Pending(path, self._request.moves(placement))

    def _noted(self, path: bytes, placement: Placement) -> bool:
        """Note the request; False: it holds already."""
        request = self._request
        if self._dry_run:
            return self._show(path, placement)
        if request.value is None:
            self._tell_pinned_by(path, placement)
            return remove(path, request.name)
        if placement.is_pinned and any(path.startswith(above) for above in self._pinned):
            return True
        put(path, request.name, request.value)
        return True

    def _tell_pinned_by(self, path: bytes, placement: Placement) -> None:
        """Say once of each directory that its files stay pinned."""
        if placement.pinned_by is not None and placement.pinned_by not in self._pinning:
            self._pinning.add(placement.pinned_by)
            by = printable(os.fsencode(placement.pinned_by))
            self._reporter.fail(
                path, f"the directory {by} of the mount pins it; tierfs unpin -r ends that"
            )

    def _show(self, path: bytes, placement: Placement) -> bool:
        if self._request.value is None and not placement.is_pinned:
            return False
        if self._request.is_refused(placement):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        moved = self._request.moves(placement)
        size = f"  {format_size(moved)} {self._request.direction}" if moved else ""
        click.echo(f"would {self._request.verb} {printable(path)}{size}")
        return True

    def tell(self) -> None:
        """Say what was asked for, unless problems are all there is to say."""
        self._told = True
        if self._reporter.errors and not (self.files or self._needless):
            return
        begins = f"would {self._request.verb}" if self._dry_run else self._request.noted
        moved = f", {format_size(self.bytes)} {self._request.direction}" if self.bytes else ""
        what = counted(self.files, "file", "files")
        if self.directories:
            what = f"{counted(self.directories, 'directory', 'directories')} and {what}"
        line = f"{begins} {what}{moved}"
        click.echo(line + (f"; {self._needless:,} need nothing" if self._needless else ""))

    def tell_interrupted(self, left: int) -> None:
        """Say what was asked for until Ctrl-C, or how many files it did not wait for."""
        if not self._told:
            self.tell()
        if left:
            click.echo(f"tierfs: interrupted: {_unmoved(left)}; {STAYS}", err=True)


def _wait(waiting: PendingFiles, request: Request, requester: Requester, patience: float) -> bool:
    """Wait for all, with a bar; tells whether they were moved in time."""
    with progress_bar("{task.fields[files]:,.0f} of {task.fields[all]:,.0f} files") as progress:
        task = progress.add_task(
            request.verb, total=max(requester.bytes, 1), files=0, all=waiting.left, done=""
        )

        def watch(one: Pending) -> None:
            progress.advance(task, one.bytes)
            state = progress.tasks[0]
            progress.update(
                task, files=state.fields["files"] + 1, done=format_size(int(state.completed))
            )

        done = waiting.until(time.monotonic() + patience, watch)
    if not done:
        time_out = format_duration(int(patience * SECOND))
        told = [f"{reason} {count:,}" for reason, count in waiting.reasons().most_common()]
        why = f" (waiting for {', '.join(told)})" if told else ""
        click.echo(
            f"tierfs: after {time_out} {_unmoved(waiting.left)}{printable(why)}; {STAYS}", err=True
        )
    return done


def _unmoved(left: int) -> str:
    return f"{counted(left, 'file is', 'files are')} still to be moved"


# ------------------------------------------------------------------ waiting

POLL_S: Final = 0.2
"""Seconds between two looks."""

LOOKS: Final = 200
"""Files looked at in one: a tenth of a second of the daemon's time or less."""

WHY: Final = (
    "the mount gave it up, as when a tier has no room, a rule pins the file, "
    "or somebody asked for something else"
)

NO_ROOM: Final = {
    "room": "flash has no room for it, and what may leave flash is too little",
    "inodes": "flash has no inode for it, and no file may leave flash",
}
"""By the reason for which a file is stuck."""

STAYS_PINNED: Final = "it stays pinned and comes when there is; tierfs unpin or demote others"

State = Literal["reached", "pending", "stuck", "given up"]


class Pending(NamedTuple):
    """A file that is to be moved, and the bytes of it that are."""

    path: bytes
    bytes: int


Watch = Callable[[Pending], None]
"""Called for each file that needs no more waiting."""


def state_of(request: Request, placement: Placement) -> State:
    """What became of a request."""
    if request.reached(placement):
        return "reached"
    if request.direction == TO_FLASH and placement.stuck:
        return "stuck"
    return "pending" if request.is_noted(placement) else "given up"


class PendingFiles:
    """Files that are looked at until nothing is left to wait for."""

    def __init__(self, request: Request, reporter: Reporter) -> None:
        self._request = request
        self._files: deque[Pending] = deque()
        self._reporter = reporter
        self.reached = 0
        """Files that are where they belong."""

    def add(self, pending: Pending) -> None:
        """Wait for one more."""
        self._files.append(pending)

    @property
    def left(self) -> int:
        """Files that are still to be moved."""
        return len(self._files)

    def reasons(self) -> Counter[str]:
        """Why the next files wait, as many as are looked at in one, and how many for each."""
        found: Counter[str] = Counter()
        for pending in islice(self._files, LOOKS):
            with suppress(OSError):
                if reason := placement_of(pending.path).waits:
                    found[reason] += 1
        return found

    def until(self, deadline: float, watch: Watch) -> bool:
        """Wait until ``deadline`` (time.monotonic) at most; tells whether all has ended.

        Raises:
            NotMounted: the mount's daemon is gone.
        """
        while self._files:
            if self.look(watch) < LOOKS and self._files:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        return True

    def look(self, watch: Watch) -> int:
        """Look at the next files, each once; returns how many have ended."""
        ended = 0
        for _ in range(min(LOOKS, len(self._files))):
            pending = self._files.popleft()
            if self._has_ended(pending.path):
                ended += 1
                watch(pending)
            else:
                self._files.append(pending)
        return ended

    def _has_ended(self, path: bytes) -> bool:
        try:
            placement = placement_of(path)
        except OSError as error:
            self._reporter.failed(path, error)
            return True
        state = state_of(self._request, placement)
        if state == "stuck":
            why = NO_ROOM.get(placement.waits or "", f"it cannot be moved now ({placement.waits})")
            stays = f"; {STAYS_PINNED}" if self._request.is_noted(placement) else ""
            self._reporter.stuck(path, f"it was not {self._request.done}: {why}{stays}")
        if state == "given up":
            why = f"moving it failed ({placement.waits}); see the log" if placement.waits else WHY
            self._reporter.fail(path, f"it was not {self._request.done}; {why}")
        self.reached += state == "reached"
        return state != "pending"
