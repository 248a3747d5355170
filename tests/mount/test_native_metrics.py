"""What the router counted is exported together with what Python counted."""

from __future__ import annotations

import itertools
from typing import NamedTuple, cast

import pytest
from prometheus_client import generate_latest

from tierfs.common.metrics import LATENCY_BUCKETS, Metrics
from tierfs.daemon.metrics import NativeCounters, exposition
from tierfs.native._router import ANSWERED, BUCKETS, Counters

pytestmark = pytest.mark.once


class Answered(NamedTuple):
    """As the router's, which only the router makes."""

    ok: int
    enodata: int
    erange: int
    einval: int
    seconds: float
    buckets: tuple[int, ...]


class Told(NamedTuple):
    """As the router's ``Counters``."""

    answered: tuple[Answered, ...]
    to_python: int
    flash_bytes: int
    disk_bytes: int
    inodes: int
    dentries: int
    known_inodes: int
    memory: int
    evictions: int
    prefetched: int
    resent: int


def counters(**answered: Answered) -> Told:
    nothing = Answered(
        ok=0, enodata=0, erange=0, einval=0, seconds=0.0, buckets=(0,) * (len(BUCKETS) + 1)
    )
    return Told(
        answered=tuple(answered.get(name, nothing) for name in ANSWERED),
        to_python=11,
        flash_bytes=1000,
        disk_bytes=2000,
        inodes=12,
        dentries=13,
        known_inodes=14,
        memory=15,
        evictions=16,
        prefetched=17,
        resent=18,
    )


def page(metrics: Metrics, told: Told) -> dict[str, float]:
    native = NativeCounters(lambda: cast("Counters", told), ANSWERED, BUCKETS)
    lines = generate_latest(exposition(metrics.registry, {}, native)).decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_the_router_s_buckets_are_those_that_are_exported() -> None:
    assert BUCKETS == LATENCY_BUCKETS


def test_requests_of_both_add_up() -> None:
    metrics = Metrics()
    metrics.requests.labels("read", "ok").inc(3)
    metrics.request_seconds.labels("read").observe(30e-6)
    times = [0] * (len(BUCKETS) + 1)
    times[0], times[1], times[-1] = 4, 2, 1
    read = Answered(ok=7, enodata=0, erange=0, einval=0, seconds=20.0, buckets=tuple(times))
    found = page(metrics, counters(read=read))
    assert found['tierfs_requests_total{operation="read",result="ok"}'] == 10
    name = "tierfs_request_seconds"
    assert found[f'{name}_count{{operation="read"}}'] == 8
    assert found[f'{name}_sum{{operation="read"}}'] == 20.0 + 30e-6
    assert found[f'{name}_bucket{{le="2.5e-05",operation="read"}}'] == 4
    assert found[f'{name}_bucket{{le="5e-05",operation="read"}}'] == 7
    assert found[f'{name}_bucket{{le="+Inf",operation="read"}}'] == 8


def test_what_only_the_router_answers_is_exported() -> None:
    times = (5, *itertools.repeat(0, len(BUCKETS)))
    found = page(Metrics(), counters(getxattr=Answered(4, 1, 2, 3, 1e-5, times)))
    assert found['tierfs_requests_total{operation="getxattr",result="ok"}'] == 4
    assert found['tierfs_requests_total{operation="getxattr",result="ENODATA"}'] == 1
    assert found['tierfs_requests_total{operation="getxattr",result="ERANGE"}'] == 2
    assert found['tierfs_requests_total{operation="getxattr",result="EINVAL"}'] == 3
    assert found['tierfs_request_seconds_bucket{le="+Inf",operation="getxattr"}'] == 5
    assert not any("listxattr" in name for name in found)


def test_bytes_and_the_table_are_exported() -> None:
    metrics = Metrics()
    metrics.read_bytes.labels("flash").inc(1)
    found = page(metrics, counters())
    assert found['tierfs_read_bytes_total{tier="flash"}'] == 1001
    assert found['tierfs_read_bytes_total{tier="disk"}'] == 2000
    assert found["tierfs_resent_requests_total"] == 18
    assert found["tierfs_fast_path_to_python_total"] == 11
    assert found["tierfs_fast_path_inodes"] == 12
    assert found["tierfs_fast_path_names"] == 13
    assert found["tierfs_fast_path_known_inodes"] == 14
    assert found["tierfs_fast_path_bytes"] == 15
    assert found["tierfs_fast_path_evictions_total"] == 16


def test_a_scrape_changes_nothing() -> None:
    metrics, told = Metrics(), counters()
    first, second = page(metrics, told), page(metrics, told)
    for each in (first, second):
        for name in [name for name in each if name.startswith("process_")]:
            del each[name]  # of this process, which goes on
    assert first == second
