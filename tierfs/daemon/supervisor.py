"""The supervisor: the parent of a daemon, which outlives it and keeps its mount alive.

It keeps descriptors: of the device, of the locks of the volume, and of the object stores, to which
the kernel reports what could not be written back. The daemon sends them, with a record that only
daemons read, once the mount answers. When the daemon ends, and the connection to the kernel has
not, the next one gets them, and takes over (`tierfs.daemon.takeover`). It is a process that has
loaded already what it needs, the *standby*, which waits since the last one began to serve. The
first one is started for that, and so is that of an upgrade; the others are copies (fork(2)) that a
standby makes of itself when its turn comes, so that there is one even if the daemon ends at once.

The two talk by a socket of packets, each a JSON object with the key ``is``. A daemon says
``waiting`` when it is ready to begin, with its number and whether it can make copies of itself,
``serving`` when it does, ``failed`` with the reason before it ends without, and ``upgrade`` with
the command line of another tierfs that is to take over. It gets ``start``, with the record or null
(if a copy is ``wanted``, the last descriptor is its socket), and ``refused`` where an upgrade is
not possible. The end of the socket is the end of the daemon: of its descriptors, therefore of its
locks, and of all its threads that can still change anything.

Only the standard library is loaded here: the process does nothing but wait.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tierfs.daemon.interpreter import module_command

MOST_BYTES: Final = 256 * 1024
"""Of a packet."""
MOST_DESCRIPTORS: Final = 16

PR_SET_CHILD_SUBREAPER: Final = 36
"""Of linux/prctl.h."""

MOST_QUICK_DEATHS: Final = 5
"""In a row, after which the mount is given up."""
QUICK_S: Final = 1.0
"""A daemon that served for less counts as one that died quickly."""
PAUSE_S: Final = 0.2
"""Before another one after a quick death; twice as long each time."""
STANDBY_AFTER_S: Final = 0.2
"""After which a standby is started: not while the programs wait that were held up."""
STANDBY_AGAIN_S: Final = 60.0
"""After one that could not start."""
UPGRADE_S: Final = 60.0
"""For the daemon of an upgrade to be ready."""
REAPED_EVERY_S: Final = 0.002
REAP_S: Final = 0.2
"""For a daemon that has closed its socket to end."""
TICK_S: Final = 1.0
END_S: Final = 2.0

FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Packet = dict[str, Any]


def command_of(arguments: Sequence[str], ready_pipe: int | None) -> list[str]:
    """The command line of a supervisor of ``tierfs mount ARGUMENTS``."""
    task = {"daemon": module_command("tierfs"), "arguments": list(arguments), "ready": ready_pipe}
    return [*module_command("tierfs.daemon.supervisor"), json.dumps(task)]


def send(to: socket.socket, packet: Packet, descriptors: Sequence[int] = ()) -> None:
    """Send a packet.

    Raises:
        OSError: the other side is gone.
    """
    socket.send_fds(to, [json.dumps(packet).encode()], list(descriptors))


def receive(source: socket.socket, flags: int = 0) -> tuple[Packet | None, list[int]]:
    """The next packet and its descriptors; None at the end.

    Raises:
        BlockingIOError: there is none, and ``flags`` say not to wait.
    """
    flags |= socket.MSG_CMSG_CLOEXEC
    try:
        data, descriptors, _, _ = socket.recv_fds(source, MOST_BYTES, MOST_DESCRIPTORS, flags)
    except ConnectionError:
        return None, []
    return (json.loads(data), descriptors) if data else (None, [])


def is_over(device: int) -> bool:
    """Whether the connection of a descriptor of the device has ended: unmounted, or aborted."""
    poll = select.poll()
    poll.register(device, 0)
    return bool(poll.poll(0))


class Copy:
    """A process that a standby made of itself; it becomes a child of this one (``adopt_orphans``).

    Has what is used here of a `subprocess.Popen`.
    """

    def __init__(self) -> None:
        self.pid = 0
        """Unknown until it says so."""
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None: it runs, or is not known yet."""
        if self.pid and self.returncode is None:
            with suppress(ChildProcessError):  # not a child yet
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, seconds: float) -> None:
        """Wait for its end.

        Raises:
            TimeoutExpired: it did not come within ``seconds``.
        """
        until = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("daemon", seconds)
            time.sleep(REAPED_EVERY_S)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.pid and self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it; if its number is not known yet, the end of its socket does."""
        self.send_signal(signal.SIGKILL)


class Daemon:
    """A process that serves, or is about to."""

    def __init__(self, process: subprocess.Popen[bytes] | Copy, ours: socket.socket) -> None:
        self.process = process
        self.socket = ours
        self.waiting = False
        """For ``start``."""
        self.makes_copies = False
        self.started = False
        self.serving_since: float | None = None
        self.failure = ""
        self._closed = False

    @classmethod
    def start(cls, command: Sequence[str], arguments: Sequence[str], ready: int | None) -> Daemon:
        """A new process."""
        ours, theirs = _pair()
        words = [*command, "mount", "--foreground", f"--supervisor={theirs.fileno()}"]
        words += [] if ready is None else [f"--ready-pipe={ready}"]
        passed = [theirs.fileno(), *([] if ready is None else [ready])]
        with theirs:
            return cls(subprocess.Popen([*words, *arguments], pass_fds=passed), ours)

    def is_waiting(self, packet: Packet) -> None:
        """It says that it waits for ``start``."""
        self.waiting = True
        self.makes_copies = packet.get("makes_copies", False)  # it may be of an older tierfs
        if isinstance(self.process, Copy):
            self.process.pid = packet["pid"]

    @property
    def ended(self) -> bool:
        """Whether nothing of it can change anything any more."""
        return self._closed or self.process.poll() is not None

    def take(self) -> tuple[Packet | None, list[int]]:
        """What it says; None: nothing."""
        try:
            packet, descriptors = receive(self.socket, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None, []
        if packet is None and not self._closed:
            self._closed = True
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(REAP_S)
        return packet, descriptors

    def end(self) -> str:
        """How it ended, for people."""
        code = self.process.poll()
        if code is None:
            return "was killed, and has a thread that waits for a reply of its own mount"
        if code >= 0:
            return f"ended with exit status {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    def dismiss(self) -> None:
        """End one that does not serve."""
        self.socket.close()
        with suppress(ProcessLookupError):
            self.process.kill()
        self._closed = True


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Supervisor:
    """Runs daemons one after the other until their mount has ended."""

    def __init__(self, command: Sequence[str], arguments: Sequence[str], ready: int | None) -> None:
        self._command = list(command)
        self._fallback: list[str] | None = None
        """The command of before an upgrade, until the new one serves."""
        self._arguments = list(arguments)
        self._signals, theirs = socket.socketpair()
        for one in (self._signals, theirs):
            one.setblocking(False)  # noqa: FBT003 - the only argument there is
        self._theirs = theirs
        self._terminate = 0
        """A signal for the next daemon that serves."""
        for number in (*FORWARDED, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(theirs.fileno())
        self._daemon = Daemon.start(command, self._arguments, ready)
        if ready is not None:
            os.close(ready)  # the command that waits reads until nobody has it
        self._standby: Daemon | None = None
        self._left: list[subprocess.Popen[bytes] | Copy] = []
        self._record: Packet | None = None
        self._kept: list[int] = []
        self._standby_from = 0.0
        self._upgrade_until: float | None = None
        self._pause_until = 0.0
        self._quick_deaths = self._restarts = self._upgrades = 0
        self._why = ""
        self._since = 0.0

    def run(self) -> int:
        """Supervise; returns the exit status."""
        while True:
            self._wait()
            if self._daemon.ended and (status := self._after_end()) is not None:
                self._leave()
                return status
            self._start_waiting()
            self._tend_standby()

    # ---------------------------------------------------------------- events

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        both = (self._daemon, self._standby)
        daemons = {one.socket.fileno(): one for one in both if one and not one.ended}
        for number in daemons:
            poll.register(number, select.POLLIN)
        settled = self._daemon.serving_since is not None and not self._daemon.ended
        tick = TICK_S if settled else 0.05
        for number, _ in poll.poll(tick * 1000):
            if number in daemons:
                self._hear(daemons[number])
            else:
                with suppress(BlockingIOError):
                    for signal_number in self._signals.recv(64):
                        if signal_number in FORWARDED:
                            self._signal(signal_number)
        self._left = [process for process in self._left if process.poll() is None]
        reap([*(each.process for each in both if each), *self._left])

    def _hear(self, daemon: Daemon) -> None:
        packet, descriptors = daemon.take()
        if packet is None:
            return
        kind = packet["is"]
        if kind == "waiting":
            daemon.is_waiting(packet)
        elif kind == "serving":
            daemon.serving_since = time.monotonic()
            self._standby_from = daemon.serving_since + STANDBY_AFTER_S
            self._fallback = None
            if packet["record"] is not None:
                self._record, self._kept = packet["record"], descriptors
            if self._terminate:
                self._signal(self._terminate)
        elif kind == "failed":
            daemon.failure = packet["why"]
        elif kind == "upgrade" and daemon is self._daemon:
            self._begin_upgrade(packet["command"])

    def _signal(self, number: int) -> None:
        self._terminate = 0
        if self._daemon.started and not self._daemon.ended:
            with suppress(ProcessLookupError):
                self._daemon.process.send_signal(number)
        elif number != signal.SIGHUP:
            self._terminate = number

    # ---------------------------------------------------------------- one after the other

    def _start_waiting(self) -> None:
        """Let the daemon begin that waits for that."""
        daemon = self._daemon
        if not daemon.waiting or daemon.started or time.monotonic() < self._pause_until:
            return
        daemon.started = True
        record = self._record and {
            **self._record,
            "restarts": self._restarts,
            "upgrades": self._upgrades,
            "why": self._why,
            "since": self._since,
        }
        packet, passed = {"is": "start", "record": record}, self._kept
        if record is None or self._standby is not None or not daemon.makes_copies:
            with suppress(OSError):  # its end is noticed
                send(daemon.socket, packet, passed)
            return
        ours, theirs = _pair()
        with theirs:
            try:
                send(daemon.socket, {**packet, "wanted": True}, [*passed, theirs.fileno()])
            except OSError:  # its end is noticed
                ours.close()
                return
        self._standby = Daemon(Copy(), ours)

    def _after_end(self) -> int | None:
        """The daemon has ended: the exit status if all is over, else None."""
        ended = self._daemon
        if ended.process.poll() is None:
            self._left.append(ended.process)
        code = ended.process.returncode
        status = 0 if code is None else code if code >= 0 else 128 - code
        ended.socket.close()
        if self._record is None or is_over(self._kept[0]):
            return status
        served = ended.serving_since
        if self._upgrade_until is not None and self._standby and self._standby.waiting:
            self._why = "upgrade"
            self._upgrades += 1
        elif served is None and self._fallback is not None:
            self._why = f"the upgrade failed: {ended.failure or ended.end()}"
            self._command, self._fallback = self._fallback, None
            self._dismiss_standby()
        else:
            self._why = f"process {ended.process.pid} {ended.end()}"
            self._why += f": {ended.failure}" if ended.failure else ""
            quick = served is None or time.monotonic() - served < QUICK_S
            self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths > MOST_QUICK_DEATHS:
            self._give_up()
            return status or 1
        if self._quick_deaths:
            self._pause_until = time.monotonic() + PAUSE_S * (2 ** (self._quick_deaths - 1) - 1)
        self._upgrade_until = None
        self._restarts += 1
        self._since = time.time()
        standby, self._standby = self._standby, None
        usable = standby is not None and not standby.ended
        self._daemon = standby if standby and usable else self._new()
        return None

    def _new(self) -> Daemon:
        return Daemon.start(self._command, self._arguments, None)

    def _give_up(self) -> None:
        """The mount is left dead, and says why."""
        why = (
            f"given up after {self._quick_deaths} daemons that ended at once; the last: {self._why}"
        )
        sys.stderr.write(f"tierfs: {why}\n")
        with suppress(OSError, KeyError, TypeError):
            Path((self._record or {})["epitaph"]).write_text(f"{why}\n", errors="surrogateescape")

    def _leave(self) -> None:
        self._dismiss_standby()
        for process in self._left:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)

    # ---------------------------------------------------------------- the standby

    def _tend_standby(self) -> None:
        now, served = time.monotonic(), self._daemon.serving_since
        if self._upgrade_until is not None:
            self._continue_upgrade(now)
        elif self._standby is not None:
            if self._standby.ended:  # as when the volume file is being changed
                self._dismiss_standby()
                self._standby_from = now + STANDBY_AGAIN_S
        elif self._record and served is not None and now > self._standby_from:
            self._standby = self._new()

    def _dismiss_standby(self) -> None:
        if self._standby is not None:
            self._standby.dismiss()
            self._left.append(self._standby.process)
            self._standby = None

    def _begin_upgrade(self, command: list[str]) -> None:
        if self._record is None:
            self._refuse("the mount is not supervised yet")
            return
        self._dismiss_standby()
        self._fallback, self._command = self._command, command
        try:
            self._standby = self._new()
        except OSError as error:
            self._refuse(str(error))
            return
        self._upgrade_until = time.monotonic() + UPGRADE_S

    def _continue_upgrade(self, now: float) -> None:
        standby = self._standby
        if standby is None or standby.ended:
            why = standby and (standby.failure or standby.end())
            self._refuse(f"the new one does not start: {why}")
        elif standby.waiting:
            with suppress(ProcessLookupError):
                self._daemon.process.kill()
        elif self._upgrade_until is not None and now > self._upgrade_until:
            self._refuse(f"the new one is not ready after {UPGRADE_S:g} s")

    def _refuse(self, why: str) -> None:
        """The daemon continues as before."""
        self._dismiss_standby()
        self._upgrade_until = None
        if self._fallback is not None:
            self._command, self._fallback = self._fallback, None
        with suppress(OSError):
            send(self._daemon.socket, {"is": "refused", "why": why})


def adopt_orphans() -> None:
    """Let processes whose parents end below this one become its children (prctl(2)).

    Without, they would be those of process 1, and nobody would know how they ended.
    """
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        sys.stderr.write("tierfs: the kernel does not say how daemons end\n")


def reap(own: Sequence[subprocess.Popen[bytes] | Copy]) -> None:
    """Let nothing stay of ended children: ``own`` ones, and orphans of a daemon that has ended."""
    known = {process.pid: process for process in own}
    with suppress(ChildProcessError):  # there is none at all
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if process := known.get(ended.si_pid):
                process.poll()
            else:
                os.waitpid(ended.si_pid, os.WNOHANG)


def main() -> None:
    """The supervisor's process: the argument is its task, in JSON (``command_of``)."""
    task = json.loads(sys.argv[1])
    # The watchdog of a service manager waits for this process (sd_watchdog_enabled(3)): a daemon
    # that serves is what it is to hear of.
    os.environ.pop("WATCHDOG_PID", None)
    adopt_orphans()
    sys.exit(Supervisor(task["daemon"], task["arguments"], task["ready"]).run())


if __name__ == "__main__":
    main()
