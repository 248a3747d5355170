"""A process that has imported tierfs, and forks daemons and commands for the tests.

Of the 0.65 s of processor time that a mount takes, 0.6 s are the interpreter's start and imports,
and of a command nearly all. Where a `Starter` is `active`, the daemons of
`tests.support.mounting.Mount` and the commands of its `tierfs` are forks. All else about them is
as it is of a program that is started: session, descriptors, environment, working directory, umask,
and the command line in /proc. In `tests/cli` every program is started as a user starts it, and
everywhere what is mounted with the option `supervise`.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any
from unittest import mock

from tierfs.daemon import startup
from tierfs.daemon.interpreter import module_command

ROOM = 16 * 1024
"""Bytes of the process's command line, in which the daemon's own is written."""
HIGH = 500
"""Descriptors that are passed stay above this number until they get their own."""
MOST = 1024 * 1024
"""Bytes of a request: most are the environment."""
PRELOADED = ("tierfs.cli.main", "tierfs.cli.mount", "tierfs.daemon.session")
ARG_START, ARG_END = 45, 46
"""Fields of /proc/PID/stat, counted from the one after the name; see proc(5)."""


# ---------------------------------------------------------------- in the tests' process


class Forked:
    """A daemon that was forked; what `tierfs.daemon.startup` asks of a Popen."""

    def __init__(self, starter: Starter, pid: int) -> None:
        self._starter = starter
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._starter.ask({"ended": self.pid})["status"]
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit status; subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["tierfs"], timeout)
            with contextlib.suppress(ProcessLookupError):
                self._sleep(deadline - time.monotonic())
        return status

    def _sleep(self, seconds: float) -> None:
        """Until it ends; ProcessLookupError: it has been reaped."""
        ended = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.poll(max(seconds, 0) * 1000)
        finally:
            os.close(ended)

    def terminate(self) -> None:
        """Send SIGTERM, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class Starter:
    """The tests' end of the process that forks."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        with theirs:
            words = [*module_command(__name__), str(theirs.fileno()), "-" * ROOM]
            self._process = subprocess.Popen(
                words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )

    def close(self) -> None:
        """End it; the daemons that it has forked live on."""
        self._socket.close()
        self._process.wait(10)

    def ask(self, request: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Its answer."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            answer = self._socket.recv(MOST)
        assert answer, "the process that forks daemons has ended"
        said: dict[str, Any] = json.loads(answer)
        return said

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Inside the block `tierfs.daemon.startup` forks daemons; another process does not."""
        if os.getpid() != self._owner:
            yield
            return
        used = SimpleNamespace(
            Popen=self._popen,
            DEVNULL=subprocess.DEVNULL,
            TimeoutExpired=subprocess.TimeoutExpired,
        )
        with mock.patch.object(startup, "subprocess", used):
            yield

    def run(
        self, arguments: Sequence[str], directory: Path, env: Mapping[str, str], timeout: float
    ) -> tuple[int | None, str, str]:
        """Run the command `tierfs`: its exit status, and what it wrote to either stream.

        The status is None if it was killed after `timeout` seconds.
        """
        words = module_command("tierfs")
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self.fork([*words, *arguments], (out, err), directory, env)
            try:
                status: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = None
            written = []
            for stream in (out, err):
                stream.seek(0)
                written.append(stream.read().decode(errors="surrogateescape"))
        return status, written[0], written[1]

    def fork(
        self,
        command: Sequence[str],
        streams: tuple[IO[bytes], IO[bytes]],
        directory: Path,
        env: Mapping[str, str],
        passed: Sequence[int] = (),
        umask: int = -1,
    ) -> Forked:
        """Start a `command` of `module_command("tierfs")`, as Popen does in a new session.

        `umask` -1: as here.
        """
        words = module_command("tierfs")
        paths = dict(word.split("=", 1) for word in words if word.startswith("PYTHONPATH="))
        if umask < 0:
            os.umask(umask := os.umask(0))
        with Path(os.devnull).open("rb") as null:
            given = [null.fileno(), *(stream.fileno() for stream in streams), *passed]
            request = {
                "command": list(command[words.index(sys.executable) :]),
                "arguments": list(command[len(words) :]),
                "environment": {**env, **paths},
                "directory": os.fspath(directory),
                "umask": umask,
                "numbers": [0, 1, 2, *passed],
            }
            return Forked(self, self.ask(request, given)["pid"])

    def _popen(
        self,
        command: Sequence[str],
        *,
        stdin: int,
        stdout: IO[bytes],
        stderr: IO[bytes],
        pass_fds: Sequence[int],
        start_new_session: bool,
        cwd: str,
        umask: int,
    ) -> Forked | subprocess.Popen[bytes]:
        """As `tierfs.daemon.startup` calls Popen."""
        words = module_command("tierfs")
        if list(command[: len(words)]) == words:
            assert (stdin, start_new_session) == (subprocess.DEVNULL, True)
            return self.fork(command, (stdout, stderr), Path(cwd), os.environ, pass_fds, umask)
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            start_new_session=start_new_session,
            cwd=cwd,
            umask=umask,
        )


active: Starter | None = None
"""What the tests of this process mount with; None: as a user does."""


@contextlib.contextmanager
def starting() -> Iterator[Starter]:
    """Mount by forks inside the block."""
    global active  # noqa: PLW0603 - one for each process of pytest
    active = starter = Starter()
    try:
        yield starter
    finally:
        active = None
        starter.close()


# ---------------------------------------------------------------- in the process that forks


def serve(control: socket.socket) -> dict[str, Any] | None:
    """Fork as it is asked: returns None at the end, and in each daemon what it is to do."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(waker)
    ended: dict[int, int] = {}
    poll = select.poll()
    for number in (woken, control.fileno()):
        poll.register(number, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        if woken in ready:
            os.read(woken, 4096)
            with contextlib.suppress(ChildProcessError):
                while (child := os.waitpid(-1, os.WNOHANG))[0]:
                    ended[child[0]] = os.waitstatus_to_exitcode(child[1])
        if control.fileno() not in ready:
            continue
        message, descriptors = _receive(control)
        if not message:
            return None
        request: dict[str, Any] = json.loads(message)
        if "ended" in request:
            answer = {"status": ended.get(request["ended"])}
        elif (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request["descriptors"] = descriptors
            return request
        else:
            ended.pop(pid, None)  # of a process that had the number before
            answer = {"pid": pid}
            for number in descriptors:
                os.close(number)
        control.send(json.dumps(answer).encode())


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    numbers = array.array("i")
    message, ancillary, _, _ = control.recvmsg(MOST, socket.CMSG_SPACE(64 * numbers.itemsize))
    for _, _, data in ancillary:
        numbers.frombytes(data)
    return message, list(numbers)


def become(request: dict[str, Any]) -> None:
    """Be the process that Popen would have made of the request, up to its program."""
    os.setsid()
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, HIGH) for number in request["descriptors"]]
    wanted = request["numbers"]
    os.closerange(max(wanted) + 1, HIGH)
    for number in range(max(wanted) + 1):
        if number not in wanted:
            with contextlib.suppress(OSError):
                os.close(number)
    for number, target in zip(high, wanted, strict=True):
        os.dup2(number, target)
        os.close(number)
    os.closerange(HIGH, HIGH + 64)
    environment = request["environment"]
    os.environ.clear()
    os.environ.update(environment)
    named = (environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    plain = next(filter(None, named), "C") in {"C", "POSIX", "C.UTF-8"}
    for stream in (sys.stdin, sys.stdout):  # as an interpreter does when it starts
        stream.reconfigure(errors="surrogateescape" if plain else "strict")  # type: ignore[union-attr]
    os.chdir(request["directory"])
    os.umask(request["umask"])
    _show("\0".join(request["command"]).encode(errors="surrogateescape"))
    sys.argv = ["tierfs", *request["arguments"]]


def _show(command: bytes) -> None:
    """Let /proc/self/cmdline be ``command``: many a test finds a daemon by that."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[ARG_START]), int(fields[ARG_END])
    shown = command[: end - start - 1]  # very many arguments are not shown in full
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, shown, len(shown))


def main() -> None:
    """Serve the socket whose descriptor is the argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in PRELOADED:
        __import__(module)
    request = serve(control)
    control.detach()
    if request is not None:
        become(request)
        runpy.run_module("tierfs", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
