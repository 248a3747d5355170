"""Manual pins and requests: setting them file by file, and waiting until they are done.

A `Request` is one virtual attribute to set or remove on each file; the mover of the mount does the
rest. `Requester` sets it, `PendingFiles` polls the files until all have ended.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

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
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import ExitCode, printable
from tierfs.common.extents import WHOLE_FILE
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
    """The word for a file whose request is stored."""
    done: str
    """The word for it once the bytes are moved."""
    name: str
    value: bytes | None
    moves: Callable[[Placement], int]
    """The bytes that are still to be moved."""
    reached: Callable[[Placement], bool]
    """Whether all bytes are moved."""
    is_stored: Callable[[Placement], bool]
    """Whether the request is stored, so that the mover will do it."""
    direction: str
    """Where the bytes go."""

    def is_needless(self, placement: Placement) -> bool:
        """Whether the request would change nothing: it is done, and there is no other one."""
        return self.name == PREFIX and self.reached(placement) and placement.requested is None

    def is_refused(self, placement: Placement) -> bool:
        """Whether a pin forbids it: a pinned file stays on flash whole."""
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
        is_stored=lambda placement: placement.is_pinned,
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
    is_stored=lambda _: True,
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
        is_stored=lambda placement: placement.requested is not None,
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
    is_stored=lambda placement: placement.requested is not None,
    direction=TO_DISK,
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of these commands."""

    null: bool
    recursive: bool
    dry_run: bool
    patience: float | None
    """Seconds to wait for the moves; None: do not wait."""
    as_json: bool
    """Print one JSON object at the end, and no text."""


# ------------------------------------------------------------------ requesting

STAYS: Final = "the requests stay, and the mount does them later"


def run_request(request: Request, words: tuple[str, ...], options: Options) -> int:
    """Run a command; returns the exit code.

    Raises:
        UsageError: it makes no sense.
        NotMounted: a mount's daemon is gone.
        click.Abort: Ctrl-C.
    """
    require_files(request.verb, words, null=options.null)
    reporter = Reporter()
    requester = Requester(request, reporter, dry_run=options.dry_run, as_json=options.as_json)
    waiting = PendingFiles(request, reporter)
    try:
        found = files(
            words,
            reporter,
            null=options.null,
            recursive=options.recursive,
            directory=requester.request_directory,
        )
        with waiting_for(f"{request.verb}: asking for each file"):
            for path in found:
                if (one := requester.request(path)) and options.patience is not None:
                    waiting.add(one)
        requester.print_sums()
        if waiting.left:
            in_time = _wait(waiting, request, requester, options.patience or 0)
            if waiting.reached:
                requester.say(f"{counted(waiting.reached, 'file', 'files')} {request.done}")
            if not in_time:
                reporter.exit_code = ExitCode.UNEXPECTED
        if options.as_json:
            click.echo(json.dumps(requester.record(waiting), indent=2))
    except KeyboardInterrupt:
        requester.print_interrupted(waiting.left)
        raise click.Abort from None
    finally:
        reporter.print_rest()
    return reporter.exit_code


class Requester:
    """Makes one request for each file, and counts."""

    def __init__(
        self, request: Request, reporter: Reporter, *, dry_run: bool, as_json: bool
    ) -> None:
        self._request = request
        self._reporter = reporter
        self._dry_run = dry_run
        self.say: Callable[[str], None] = (lambda _: None) if as_json else click.echo
        """Prints a line for people."""
        self.files = 0
        self.bytes = 0
        self.directories = 0
        self._needless = 0
        self._printed = False
        self._pinned: list[bytes] = []
        """Directories that were pinned, each with a slash at its end."""
        self._pinning: set[str] = set()
        """Directories whose pins still hold what was to be unpinned."""

    def request_directory(self, path: bytes) -> None:
        """Pin or unpin a directory, which then applies to what is made in and below it later.

        If that is not allowed, or the daemon is older, only its files are pinned.

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
            what = f"files made in it later are not {request.noted}"
            click.echo(f"tierfs: {printable(path)}: {what}: {reason(error)}", err=True)

    def request(self, path: bytes) -> Pending | None:
        """Make the request for a file, or with ``dry_run`` print it; None: nothing to wait for.

        Raises:
            NotMounted: the mount's daemon is gone.
        """
        try:
            placement = placement_of(path)
            if self._request.is_needless(placement) or not self._store(path, placement):
                self._needless += 1
                return None
        except OSError as error:
            self._reporter.failed(path, error)
            return None
        self.files += 1
        self.bytes += self._request.moves(placement)
        return None if self._dry_run else Pending(path, self._request.moves(placement))

    def _store(self, path: bytes, placement: Placement) -> bool:
        """Store the request; False: there is nothing to store."""
        request = self._request
        if self._dry_run:
            return self._show(path, placement)
        if request.value is None:
            if placement.pinned_by is not None and placement.pinned_by not in self._pinning:
                self._pinning.add(placement.pinned_by)  # each directory is named once
                by = printable(os.fsencode(placement.pinned_by))
                self._reporter.fail(
                    path, f"the directory {by} of the mount pins it; use tierfs unpin -r on it"
                )
            return remove(path, request.name)
        if placement.is_pinned and any(path.startswith(above) for above in self._pinned):
            return True
        put(path, request.name, request.value)
        return True

    def _show(self, path: bytes, placement: Placement) -> bool:
        if self._request.value is None and not placement.is_pinned:
            return False
        if self._request.is_refused(placement):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        moved = self._request.moves(placement)
        size = f"  {format_size(moved)} {self._request.direction}" if moved else ""
        self.say(f"would {self._request.verb} {printable(path)}{size}")
        return True

    def print_sums(self) -> None:
        """Print what was requested, unless there were only problems."""
        self._printed = True
        if self._reporter.errors and not (self.files or self._needless):
            return
        begins = f"would {self._request.verb}" if self._dry_run else self._request.noted
        moved = f", {format_size(self.bytes)} {self._request.direction}" if self.bytes else ""
        what = counted(self.files, "file", "files")
        if self.directories:
            what = f"{counted(self.directories, 'directory', 'directories')} and {what}"
        line = f"{begins} {what}{moved}"
        self.say(line + (f"; {self._needless:,} unchanged" if self._needless else ""))

    def record(self, waiting: PendingFiles) -> dict[str, Any]:
        """The sums for programs."""
        return {
            "verb": self._request.verb,
            "dry_run": self._dry_run,
            "directories": self.directories,
            "files": self.files,
            "bytes": self.bytes,
            "unchanged": self._needless,
            "moved_files": waiting.reached,
            "pending_files": waiting.left,
            "skipped": dict(self._reporter.skipped),
            "errors": self._reporter.errors,
        }

    def print_interrupted(self, left: int) -> None:
        """Print what was requested until Ctrl-C, and how many files are not moved yet."""
        if not self._printed:
            self.print_sums()
        if left:
            click.echo(f"tierfs: interrupted: {_unmoved(left)}; {STAYS}", err=True)


def _wait(waiting: PendingFiles, request: Request, requester: Requester, patience: float) -> bool:
    """Wait for all, with a progress bar; returns whether they were moved in time."""
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
"""Seconds between two polls."""

POLLED: Final = 200
"""Files in one poll: a tenth of a second of the daemon's time or less."""

WHY: Final = (
    "the mount has dropped the request: a tier has no room, a rule pins the file, "
    "or there was another request"
)

NO_ROOM: Final = {
    "room": "flash has no room for it, and what may leave flash is too little",
    "inodes": "flash has no inode for it, and no file may leave flash",
}
"""For each reason for which a file is stuck."""

STAYS_PINNED: Final = "it stays pinned and is moved when there is; unpin or demote other files"

State = Literal["reached", "pending", "stuck", "given up"]


class Pending(NamedTuple):
    """A file to be moved, and how many of its bytes."""

    path: bytes
    bytes: int


Watch = Callable[[Pending], None]
"""Called for each file that has ended."""


def state_of(request: Request, placement: Placement) -> State:
    """The state of a request."""
    if request.reached(placement):
        return "reached"
    if request.direction == TO_FLASH and placement.stuck:
        return "stuck"
    return "pending" if request.is_stored(placement) else "given up"


class PendingFiles:
    """Polls files until all have ended."""

    def __init__(self, request: Request, reporter: Reporter) -> None:
        self._request = request
        self._files: deque[Pending] = deque()
        self._reporter = reporter
        self.reached = 0
        """Files that were moved."""

    def add(self, pending: Pending) -> None:
        """Wait for one more file."""
        self._files.append(pending)

    @property
    def left(self) -> int:
        """Files that are still to be moved."""
        return len(self._files)

    def reasons(self) -> Counter[str]:
        """Why the files of the next poll wait: how many for each reason."""
        found: Counter[str] = Counter()
        for pending in islice(self._files, POLLED):
            with suppress(OSError):
                if reason := placement_of(pending.path).waits:
                    found[reason] += 1
        return found

    def until(self, deadline: float, watch: Watch) -> bool:
        """Wait until ``deadline`` (time.monotonic) at most; returns whether all have ended.

        Raises:
            NotMounted: the mount's daemon is gone.
        """
        while self._files:
            if self.poll(watch) < POLLED and self._files:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        return True

    def poll(self, watch: Watch) -> int:
        """Poll the next files, each once; returns how many have ended."""
        ended = 0
        for _ in range(min(POLLED, len(self._files))):
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
            stays = f"; {STAYS_PINNED}" if self._request.is_stored(placement) else ""
            self._reporter.stuck(path, f"it was not {self._request.done}: {why}{stays}")
        if state == "given up":
            why = f"moving it failed ({placement.waits}); see the log" if placement.waits else WHY
            self._reporter.fail(path, f"it was not {self._request.done}; {why}")
        self.reached += state == "reached"
        return state != "pending"
