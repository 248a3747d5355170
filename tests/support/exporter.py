"""The metrics endpoint of a mount, as Prometheus sees it."""

from __future__ import annotations

import contextlib
import http.client
import socket

from tests.support.mounting import Mount


def listen(mount: Mount) -> None:
    """Give the volume a metrics endpoint on a free port; the next mount opens it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        mount.metrics_port = probe.getsockname()[1]
    mount.configure("metrics", f"{{listen: '127.0.0.1:{mount.metrics_port}'}}")


def scrape_text(mount: Mount) -> str:
    """The page that Prometheus would get."""
    server = http.client.HTTPConnection("127.0.0.1", mount.metrics_port, timeout=10)
    with contextlib.closing(server):
        server.request("GET", "/metrics")
        return server.getresponse().read().decode()


def scrape(mount: Mount) -> dict[str, float]:
    """Every sample, by its name and labels as they are written on the page."""
    lines = [line for line in scrape_text(mount).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
