"""Tests of what Prometheus and Grafana are given."""

from __future__ import annotations

from tests.support.fixtures import make_mount, scratch

__all__ = ["make_mount", "scratch"]
