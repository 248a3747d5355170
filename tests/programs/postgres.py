"""A PostgreSQL server on a directory, and pgbench against it.

The server refuses to run as root; it then runs as the user `postgres`, which its Debian package
makes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.proc import (
    Argument,
    ProgramFailed,
    kill_process,
    run,
    running,
    start,
    stop,
    wait_until,
)

USER = "postgres"
PATIENCE = 110
"""Seconds that one program of PostgreSQL may take beyond what it was asked to take."""

SUMS = """
SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
       (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history);
"""
"""Every transaction of pgbench adds one delta to all four (pgbench(1), "TPC-B")."""


def program(name: str) -> str:
    """Where a program is: in PATH, or where Debian puts the server's; ProgramFailed if nowhere."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    if found is None:
        message = f"{name} of PostgreSQL is not installed; run: make setup-test"
        raise ProgramFailed(message)
    return found


def as_owner(name: str, *arguments: Argument) -> list[Argument]:
    """A program of the server, by whom the server runs as."""
    identity = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
    return [*(identity if os.geteuid() == 0 else []), program(name), *arguments]


class Server:
    """A cluster in `data`, which is made, and its server while that runs."""

    def __init__(self, data: Path, log: Path) -> None:
        """Make the cluster, with checksums on every page; `log` is a native file."""
        self.data = data
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(data, USER, USER)
        options = ["--auth=trust", f"--username={USER}", "--data-checksums", "--no-instructions"]
        self._owner("initdb", "-D", data, *options)

    def start(self) -> None:
        """Start the server and wait until it takes connections: recovery, if any, is over."""
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.data}"]
        command = as_owner("postgres", "-D", self.data, *settings)
        logging: list[Argument] = ["sh", "-c", 'exec "$@" >>"$0" 2>&1', self._log]
        self._process = start([*logging, *command], cwd=self.data)
        wait_until(self._ready, what="PostgreSQL takes connections", timeout=PATIENCE)

    def stop(self) -> None:
        """Shut down in order: a checkpoint, and every process has ended."""
        self._owner("pg_ctl", "-D", self.data, "stop", "-m", "fast", "-t", str(PATIENCE))
        self._reap()

    def kill(self) -> None:
        """Kill every process of the server with SIGKILL, the first one first."""
        if self._process is None:
            return
        pid = self._process.pid
        children: list[str] = []
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for victim in [pid, *map(int, children)]:
            kill_process(victim)
        self._reap()

    def log(self) -> str:
        """What the server has logged, since the cluster was made."""
        return self._log.read_text(errors="replace")

    def query(self, sql: str) -> str:
        """What psql prints, unaligned."""
        command = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]
        return self._client("psql", *command).strip()

    def fill(self, scale: int) -> None:
        """Make pgbench's tables: `scale` times 100,000 accounts."""
        self._client("pgbench", "-i", "-q", "-s", str(scale))

    def bench(self, seconds: int, clients: int, log_prefix: Path) -> str:
        """Run pgbench to its end; every transaction is a line in a native file."""
        return self._client(*_bench(seconds, clients, log_prefix), seconds=seconds)

    def start_bench(self, clients: int, log_prefix: Path) -> subprocess.Popen[str]:
        """Start a pgbench that lasts longer than the server will."""
        name, *arguments = _bench(PATIENCE, clients, log_prefix)
        return start([program(str(name)), *arguments], cwd=self.data, env=self._environment())

    def check_sums(self) -> None:
        """Assert that every transaction is there as a whole, or not at all."""
        sums = self.query(SUMS).split("|")
        assert len(set(sums)) == 1, f"pgbench's sums differ: {sums}"

    def check_pages(self) -> None:
        """Let PostgreSQL verify the checksum of every page; the server is stopped."""
        assert "Bad checksums:  0" in self._owner("pg_checksums", "--check", "-D", self.data)

    def check_relations(self) -> None:
        """Let PostgreSQL verify every table and index against one another."""
        self._client("pg_amcheck", "--install-missing", "--heapallindexed", USER)

    def _ready(self) -> bool:
        assert self._process is not None
        assert running(self._process.pid), f"PostgreSQL has ended:\n{self.log()}"
        with contextlib.suppress(ProgramFailed):
            return self.query("SELECT 1") == "1"
        return False

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=PATIENCE)
            stop(self._process)
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()
            self._process = None

    def _owner(self, name: str, *arguments: Argument) -> str:
        return run(as_owner(name, *arguments), cwd=self.data, timeout=PATIENCE).stdout

    def _client(self, name: Argument, *arguments: Argument, seconds: int = 0) -> str:
        command = [program(os.fsdecode(name)), *arguments]
        done = run(command, cwd=self.data, env=self._environment(), timeout=PATIENCE + seconds)
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {"PGHOST": str(self.data), "PGUSER": USER, "PGDATABASE": USER}


def _bench(seconds: int, clients: int, log_prefix: Path) -> list[Argument]:
    """The command; it neither vacuums nor empties the history before it begins."""
    return [
        "pgbench",
        "--no-vacuum",
        f"--client={clients}",
        f"--time={seconds}",
        "--log",
        f"--log-prefix={log_prefix}",
    ]
