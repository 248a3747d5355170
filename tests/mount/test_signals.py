"""What signals do to the daemon, tried on a process and terminals of its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.proc import REPOSITORY

pytestmark = pytest.mark.timeout(60)

Process = subprocess.Popen[bytes]

DAEMON = """
import sys
from functools import partial
import trio
from tierfs.daemon.signals import hangups_ignored, handle_signals

def say(word):
    print(word, file=open(sys.argv[1], "a"), flush=True)

async def unmount():
    say("unmount")
    ending.cancel()

async def reload():
    say("reload")

async def main(follows):
    with ending:
        async with trio.open_nursery() as nursery:
            obey = partial(handle_signals, unmount, reload, follows_terminal=follows)
            await nursery.start(obey)
            say("ready")

ending = trio.CancelScope()
with hangups_ignored() as follows:
    trio.run(main, follows)
say("end")
"""


class Daemon:
    """A process that obeys signals and writes down what it does, a word a line."""

    def __init__(self, home: Path) -> None:
        self._said = home / "said"
        os.mkfifo(self._said)
        self._reading = os.fdopen(os.open(self._said, os.O_RDWR))
        self.command = [sys.executable, "-c", DAEMON, str(self._said)]

    def says(self) -> str:
        return self._reading.readline().strip()

    def close(self) -> None:
        self._reading.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.close()


@contextmanager
def started(command: list[str], stdin: int = subprocess.DEVNULL) -> Iterator[Process]:
    """The daemon in a session of its own, killed at the end if need be."""
    quiet = subprocess.DEVNULL  # nohup(1) writes a file in place of a terminal
    # Whoever runs the tests may ignore these, as a job of nohup(1) does.
    signals = ["env", "--default-signal=HUP,INT"]
    leader = ["setsid", *(["--ctty"] if stdin >= 0 else []), *signals, *command]
    with subprocess.Popen(leader, cwd=REPOSITORY, stdin=stdin, stdout=quiet) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def in_a_terminal(command: list[str]) -> Iterator[tuple[Process, IO[bytes]]]:
    """The daemon as the leader of a new terminal's session, and our end of the terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal, started(command, theirs) as process:
        os.close(theirs)
        yield process, terminal


def test_without_a_terminal(daemon: Daemon) -> None:
    with started(daemon.command) as process:
        assert daemon.says() == "ready"
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert daemon.says() == "reload"
        process.send_signal(signal.SIGTERM)
        assert [daemon.says(), daemon.says()] == ["unmount", "end"]
        assert process.wait(20) == 0


def test_in_a_terminal_that_stays(daemon: Daemon) -> None:
    with in_a_terminal(daemon.command) as (process, _):
        assert daemon.says() == "ready"
        process.send_signal(signal.SIGHUP)
        assert daemon.says() == "reload"
        process.send_signal(signal.SIGINT)
        assert [daemon.says(), daemon.says()] == ["unmount", "end"]


def test_in_a_terminal_that_is_closed(daemon: Daemon) -> None:
    with in_a_terminal(daemon.command) as (_, terminal):
        assert daemon.says() == "ready"
        terminal.close()
        assert [daemon.says(), daemon.says()] == ["unmount", "end"]


def test_nohup_outlives_the_terminal(daemon: Daemon) -> None:
    with in_a_terminal(["nohup", *daemon.command]) as (process, terminal):
        assert daemon.says() == "ready"
        terminal.close()
        assert daemon.says() == "reload"
        process.send_signal(signal.SIGTERM)
        assert [daemon.says(), daemon.says()] == ["unmount", "end"]
