"""The metrics endpoint counts what happens, and listens where it was told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exporter import scrape, scrape_text
from tests.support.mounting import HEAD, Mount

LOOPBACK = "0100007F"
"""127.0.0.1 as /proc/net/tcp writes it."""


def total(samples: dict[str, float], name: str, *labels: str) -> float:
    """Sum of the samples of one metric that have all these labels."""
    chosen = [key for key in samples if key.startswith(name) and all(one in key for one in labels)]
    return sum(samples[key] for key in chosen)


def test_bytes_are_counted_by_tier(mounted: Mount) -> None:
    (mounted.path / "file").write_bytes(b"x" * (HEAD + 1000))
    mounted.remount()
    before = scrape(mounted)
    assert len((mounted.path / "file").read_bytes()) == HEAD + 1000
    after = scrape(mounted)

    def grown(*labels: str) -> float:
        name = "tierfs_read_bytes_total"
        return total(after, name, *labels) - total(before, name, *labels)

    assert grown('tier="flash"') == HEAD
    assert grown('tier="disk"') == 1000


def test_requests_transactions_and_latency_grow(mounted: Mount) -> None:
    before = scrape(mounted)
    for number in range(10):
        (mounted.path / f"folder-{number}").mkdir()
    after = scrape(mounted)
    requests = ("tierfs_requests_total", 'operation="mkdir"', 'result="ok"')
    assert total(after, *requests) - total(before, *requests) == 10
    commits = ("tierfs_index_transactions_total", "commit")
    assert total(after, *commits) - total(before, *commits) >= 10
    latency = ("tierfs_request_seconds_count", 'operation="mkdir"')
    assert total(after, *latency) - total(before, *latency) == 10


def test_refused_requests_are_counted_by_errno(mounted: Mount) -> None:
    refused = ("tierfs_requests_total", 'operation="rmdir"', 'result="ENOTEMPTY"')
    before = total(scrape(mounted), *refused)
    (mounted.path / "folder").mkdir()
    (mounted.path / "folder" / "file").touch()
    with pytest.raises(OSError, match="not empty"):
        (mounted.path / "folder").rmdir()
    assert total(scrape(mounted), *refused) - before == 1


def test_every_metric_is_explained(mounted: Mount) -> None:
    page = scrape_text(mounted)
    names = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE tierfs_")}
    helped = {line.split()[2] for line in page.splitlines() if line.startswith("# HELP tierfs_")}
    assert names
    assert names == helped


def test_endpoint_is_on_the_loopback_interface_alone(mounted: Mount) -> None:
    port = f"{mounted.metrics_port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {fields[1] for fields in lines if fields[3] == "0A"}
    assert {one for one in listening if one.endswith(f":{port}")} == {f"{LOOPBACK}:{port}"}
