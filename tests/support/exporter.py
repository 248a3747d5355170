"""The metrics endpoint of a mount, as Prometheus sees it."""

from __future__ import annotations

import contextlib
import http.client
import socket

from prometheus_client.parser import text_string_to_metric_families

from tests.support.mounting import Mount


def listen(mount: Mount) -> None:
    """Give the volume a metrics endpoint on a free port; the next mount opens it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        mount.metrics_port = probe.getsockname()[1]
    mount.configure("metrics", f"{{listen: '127.0.0.1:{mount.metrics_port}'}}")


OF_THE_MOUNT = {"volume", "mountpoint"}
"""Labels that every sample of tierfs has."""


REQUESTS = "tierfs_requests_total"
MOST_SCRAPES = 20


def scrape_text(mount: Mount) -> str:
    """The page that Prometheus would get, once two in a row have the same requests.

    Some are counted just after their reply. Where clients go on, it is the last of some.
    """
    page = fetch(mount, "/metrics")[1]
    for _ in range(MOST_SCRAPES):
        before, page = page, fetch(mount, "/metrics")[1]
        if _requests(before) == _requests(page):
            break
    return page


def _requests(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(REQUESTS)]


def fetch(mount: Mount, path: str) -> tuple[int, str]:
    """HTTP status and body of a page of the metrics endpoint."""
    server = http.client.HTTPConnection("127.0.0.1", mount.metrics_port, timeout=10)
    with contextlib.closing(server):
        server.request("GET", path)
        response = server.getresponse()
        return response.status, response.read().decode()


def scrape(mount: Mount) -> dict[str, float]:
    """Every sample, by its name and labels as written on the page, but those of the mount."""
    samples = {}
    for family in text_string_to_metric_families(scrape_text(mount)):
        for sample in family.samples:
            labels = sample.labels.items()
            words = [f'{key}="{value}"' for key, value in labels if key not in OF_THE_MOUNT]
            name = f"{sample.name}{{{','.join(words)}}}" if words else sample.name
            samples[name] = float(sample.value)
    return samples
