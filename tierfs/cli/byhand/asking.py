"""Asks for one thing on many files, and waits for it if told to."""

from __future__ import annotations

import errno
import os
import time
from typing import Final

import click

from tierfs.base.by_hand import PIN
from tierfs.base.durations import SECOND, format_duration
from tierfs.base.errors import ExitCode
from tierfs.base.text import printable
from tierfs.base.units import format_size
from tierfs.cli.bar import bar
from tierfs.cli.byhand.files import Complaints, files
from tierfs.cli.byhand.options import Manner
from tierfs.cli.byhand.place import Place, place_of, put, reason, remove
from tierfs.cli.byhand.waiting import Asked, Waiting
from tierfs.cli.byhand.wishes import Wish
from tierfs.cli.given import require_files
from tierfs.cli.messages import counted
from tierfs.prewarm.find import require_daemon

STAYS: Final = "what was asked for stays, and is done when the mount comes to it"


def ask_for(wish: Wish, words: tuple[str, ...], manner: Manner) -> int:
    """Do what a command line says; returns the exit code.

    Raises:
        UsageError: it makes no sense.
        NotMounted: a mount's daemon is gone.
        click.Abort: Ctrl-C.
    """
    require_files(wish.verb, words, null=manner.null)
    complaints = Complaints()
    asking = Asking(wish, complaints, dry_run=manner.dry_run)
    asked = Waiting(wish, complaints)
    try:
        for path in files(
            words,
            complaints,
            null=manner.null,
            recursive=manner.recursive,
            directory=asking.ask_directory,
        ):
            if (one := asking.ask(path)) and manner.patience is not None:
                asked.add(one)
        asking.tell()
        if asked.left:
            in_time = _wait(asked, wish, asking, manner.patience or 0)
            if asked.reached:
                click.echo(f"{counted(asked.reached, 'file', 'files')} {wish.done}")
            if not in_time:
                return ExitCode.UNEXPECTED
    except KeyboardInterrupt:
        asking.tell_interrupted(asked.left)
        raise click.Abort from None
    finally:
        complaints.tell_skipped()
    return complaints.exit_code


class Asking:
    """Asks for one thing, file by file, and counts."""

    def __init__(self, wish: Wish, complaints: Complaints, *, dry_run: bool) -> None:
        self._wish = wish
        self._complaints = complaints
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
        wish = self._wish
        if wish.name != PIN or self._dry_run:
            return
        try:
            if wish.value is None:
                device = os.lstat(path).st_dev
                for root, below, _ in os.walk(path):
                    self.directories += remove(root, PIN)
                    below[:] = [
                        name
                        for name in below
                        if os.lstat(os.path.join(root, name)).st_dev == device  # noqa: PTH118
                    ]
            else:
                put(path, PIN, wish.value)
                self._pinned.append(path.rstrip(b"/") + b"/")
                self.directories += 1
        except OSError as error:
            require_daemon(error, path)
            what = f"what is made in it later is not {wish.noted}"
            click.echo(f"tierfs: {printable(path)}: {what}: {reason(error)}", err=True)

    def ask(self, path: bytes) -> Asked | None:
        """Ask for one file, or with ``dry_run`` say so; None: there is nothing to wait for.

        Raises:
            NotMounted: the mount's daemon is gone.
        """
        try:
            place = place_of(path)
            if self._wish.is_needless(place) or not self._noted(path, place):
                self._needless += 1
                return None
        except OSError as error:
            self._complaints.failed(path, error)
            return None
        self.files += 1
        self.bytes += self._wish.moves(place)
        return None if self._dry_run else Asked(path, self._wish.moves(place))

    def _noted(self, path: bytes, place: Place) -> bool:
        """Note the wish; False: it holds already."""
        wish = self._wish
        if self._dry_run:
            return self._show(path, place)
        if wish.value is None:
            self._tell_pinned_by(path, place)
            return remove(path, wish.name)
        if place.is_pinned and any(path.startswith(above) for above in self._pinned):
            return True
        put(path, wish.name, wish.value)
        return True

    def _tell_pinned_by(self, path: bytes, place: Place) -> None:
        """Say once of each directory that its files stay pinned."""
        if place.pinned_by is not None and place.pinned_by not in self._pinning:
            self._pinning.add(place.pinned_by)
            by = printable(os.fsencode(place.pinned_by))
            self._complaints.fail(
                path, f"the directory {by} of the mount pins it; tierfs unpin -r ends that"
            )

    def _show(self, path: bytes, place: Place) -> bool:
        if self._wish.value is None and not place.is_pinned:
            return False
        if self._wish.is_refused(place):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        moved = self._wish.moves(place)
        size = f"  {format_size(moved)} {self._wish.direction}" if moved else ""
        click.echo(f"would {self._wish.verb} {printable(path)}{size}")
        return True

    def tell(self) -> None:
        """Say what was asked for, unless problems are all there is to say."""
        self._told = True
        if self._complaints.errors and not (self.files or self._needless):
            return
        begins = f"would {self._wish.verb}" if self._dry_run else self._wish.noted
        moved = f", {format_size(self.bytes)} {self._wish.direction}" if self.bytes else ""
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


def _wait(asked: Waiting, wish: Wish, asking: Asking, patience: float) -> bool:
    """Wait for all, with a bar; tells whether they were moved in time."""
    with bar("{task.fields[files]:,.0f} of {task.fields[all]:,.0f} files") as progress:
        task = progress.add_task(
            wish.verb, total=max(asking.bytes, 1), files=0, all=asked.left, done=""
        )

        def watch(one: Asked) -> None:
            progress.advance(task, one.bytes)
            state = progress.tasks[0]
            progress.update(
                task, files=state.fields["files"] + 1, done=format_size(int(state.completed))
            )

        done = asked.until(time.monotonic() + patience, watch)
    if not done:
        time_out = format_duration(int(patience * SECOND))
        told = [f"{reason} {count:,}" for reason, count in asked.reasons().most_common()]
        why = f" (waiting for {', '.join(told)})" if told else ""
        click.echo(
            f"tierfs: after {time_out} {_unmoved(asked.left)}{printable(why)}; {STAYS}", err=True
        )
    return done


def _unmoved(left: int) -> str:
    return f"{counted(left, 'file is', 'files are')} still to be moved"
