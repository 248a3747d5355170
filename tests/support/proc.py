"""Programs run with a time limit that holds even when one of them hangs inside the kernel."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""Root of the checkout; programs start here, so that `-m tierfs` finds the tested code."""

TAIL = 4000
"""Characters of a failed program's output that are shown."""

Argument = str | bytes | Path


class ProgramFailed(AssertionError):
    """A program ended with another exit status than the caller expects, or never ended."""


def run(
    argv: Sequence[Argument],
    *,
    timeout: float = 60,
    cwd: Path = REPOSITORY,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    statuses: Sequence[int] = (0,),
) -> subprocess.CompletedProcess[str]:
    """Run `argv` in a session of its own and return its output.

    `timeout` is in seconds. Raises ProgramFailed when the exit status is not in `statuses`
    or the time is up; in the second case the whole process group is killed first.
    """
    process = start(argv, cwd=cwd, env=env)
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        message = f"{_shown(argv)}: still running after {timeout} s"
        raise ProgramFailed(message) from None
    if process.returncode not in statuses:
        message = f"{_shown(argv)}: exit status {process.returncode}\n{out[-TAIL:]}\n{err[-TAIL:]}"
        raise ProgramFailed(message)
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def start(
    argv: Sequence[Argument], *, cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `argv` with pipes for its three streams; the caller ends it with `stop`."""
    require(os.fsdecode(argv[0]))
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
        start_new_session=True,
        text=True,
        errors="surrogateescape",
    )


def stop(process: subprocess.Popen[str]) -> None:
    """Kill the process and whatever it started, and close its pipes."""
    if process.returncode is None:
        _kill_group(process)


def require(program: str) -> None:
    """Fail, never skip, when a program that `make setup` installs is missing."""
    if shutil.which(program) is None:
        message = f"{program} is not installed; run: make setup"
        raise ProgramFailed(message)


def wait_until(condition: Callable[[], bool], *, what: str, timeout: float = 15) -> None:
    """Poll `condition` until it holds; AssertionError names `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain: {what}"
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def kill_process(pid: int, *, timeout: float = 10) -> None:
    """Send SIGKILL and wait until the process is gone, with what it had open."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _is_gone(pid), what=f"process {pid} ends after SIGKILL", timeout=timeout)


def _is_gone(pid: int) -> bool:
    """Files stay open until the last thread has ended, which may be later than the first."""
    if running(pid):
        return False
    try:
        return len(os.listdir(f"/proc/{pid}/task")) <= 1
    except (FileNotFoundError, ProcessLookupError):
        return True


def processes_naming(text: str) -> list[int]:
    """The processes that have `text` in their command line, this one left out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text.encode() in entry.read_bytes() and int(entry.parent.name) != os.getpid():
                found.append(int(entry.parent.name))
    return [pid for pid in found if running(pid)]


def thread_names(pid: int) -> set[str]:
    """The names of a process's threads; one that ends meanwhile is passed over."""
    names = set()
    for comm in Path(f"/proc/{pid}/task").glob("*/comm"):
        # Open, the file of a thread that has ended says ESRCH; by its path, ENOENT.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.add(comm.read_text().strip())
    return names


def open_files(pid: int) -> set[str]:
    """What a process's descriptors refer to; one that is closed meanwhile is passed over."""
    targets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.add(os.readlink(link))
    return targets


def as_root(*argv: Argument) -> list[Argument]:
    """`argv`, behind sudo when the tests run as an ordinary user."""
    return list(argv) if os.geteuid() == 0 else ["sudo", "-n", *argv]


def drop_page_cache() -> None:
    """Make the kernel forget clean pages, entries and inodes, so that reads ask the mount again."""
    run(["sync"])
    run(as_root("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches"))


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        # A process that waits inside a hung mount dies only when the mount does.
        process.wait(timeout=5)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()


def _shown(argv: Sequence[Argument]) -> str:
    return " ".join(os.fsdecode(part) for part in argv)
