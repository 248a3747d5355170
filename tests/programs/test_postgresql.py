"""PostgreSQL: its server, or the mount below it, is killed under load and loses no transaction."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.programs.postgres import Server
from tests.support.mounting import Mount
from tests.support.places import Place
from tests.support.proc import stop, wait_until

pytestmark = pytest.mark.long

SECONDS = int(os.environ.get("TIERFS_PGBENCH_SECONDS", "1"))
"""How long pgbench runs undisturbed; in the long run a minute."""

SCALE = 1 if SECONDS < 30 else 5
CLIENTS = 4
RECOVERED = "database system was not properly shut down"


@pytest.fixture
def server(place: Place, scratch: Path) -> Iterator[Server]:
    log = scratch / "postgres.log"
    log.touch()
    made = Server(place.path / "pg", log)
    try:
        made.start()
        made.fill(SCALE)
        yield made
    finally:
        made.kill()


@pytest.mark.timeout(2 * SECONDS + 240)
def test_bench_survives_kills(server: Server, place: Place, scratch: Path) -> None:
    sys.stdout.write(server.bench(SECONDS, CLIENTS, scratch / "whole"))
    server.check_sums()
    kill_under_load(server, scratch / "server", server.kill)
    if isinstance(place, Mount):
        kill_under_load(server, scratch / "mount", lambda: take_away(server, place))
    server.stop()
    place.remount()
    server.check_pages()
    server.start()
    server.check_relations()
    server.stop()


def kill_under_load(server: Server, log_prefix: Path, kill: Callable[[], None]) -> None:
    """Kill, start again, and count the transactions that pgbench was told are committed."""
    before, recoveries = history(server), server.log().count(RECOVERED)
    bench = server.start_bench(CLIENTS, log_prefix)
    try:
        wait_until(lambda: history(server) > before + CLIENTS, what="pgbench works", timeout=30)
        time.sleep(random.uniform(0.1, 1))
        kill()
        bench.communicate(timeout=30)
    finally:
        stop(bench)
    server.start()
    assert server.log().count(RECOVERED) == recoveries + 1
    server.check_sums()
    told = sum(len(path.read_text().splitlines()) for path in logs(log_prefix))
    assert told <= history(server) - before <= told + CLIENTS


def take_away(server: Server, place: Mount) -> None:
    """Kill what serves the directory, then the server that has lost it; mount again."""
    place.kill()
    server.kill()
    place.mount()


def history(server: Server) -> int:
    return int(server.query("SELECT count(*) FROM pgbench_history"))


def logs(prefix: Path) -> list[Path]:
    return list(prefix.parent.glob(f"{prefix.name}.*"))
