"""Metrics as exported: what Python counted, and what the router counted, added up.

The router counts by itself, without the GIL; its counters are read at each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

if TYPE_CHECKING:
    from tierfs.native._router import Answered, Counters

INFINITE = float("inf")


class Native(NamedTuple):
    """What a router tells: its counters, and what their rows and buckets mean."""

    counters: Callable[[], Counters]
    answered: Sequence[str]
    """Requests, in the order of ``Counters.answered``."""
    buckets: Sequence[float]
    """Upper bounds of the latency buckets, in seconds: those of the exported histogram."""


class _Key(NamedTuple):
    """Which sample of which family."""

    family: str
    sample: str
    labels: tuple[tuple[str, str], ...]


def exported(registry: CollectorRegistry, native: Native) -> CollectorRegistry:
    """A registry with what is in ``registry`` and what the router counted."""
    merged = CollectorRegistry()
    merged.register(_Merged(registry, native))
    return merged


class _Merged(Collector):
    def __init__(self, registry: CollectorRegistry, native: Native) -> None:
        self._registry = registry
        self._native = native

    def collect(self) -> Iterator[Metric]:
        more = dict(_samples(self._native))
        for family in self._registry.collect():
            present = [_added(family.name, sample, more) for sample in family.samples]
            added = [key for key in more if key.family == family.name]
            family.samples = present + [
                Sample(key.sample, dict(key.labels), more[key]) for key in added
            ]
            yield family


def _added(family: str, sample: Sample, more: dict[_Key, float]) -> Sample:
    key = _Key(family, sample.name, tuple(sorted(sample.labels.items())))
    return sample._replace(value=sample.value + more.pop(key, 0.0))


def _samples(native: Native) -> Iterator[tuple[_Key, float]]:
    counters = native.counters()
    for operation, answered in zip(native.answered, counters.answered, strict=True):
        yield from _requests(operation, answered)
        yield from _latency(operation, answered, native.buckets)
    for tier, count in (("flash", counters.flash_bytes), ("disk", counters.disk_bytes)):
        yield _Key("tierfs_read_bytes", "tierfs_read_bytes_total", (("tier", tier),)), count
    yield _plain("to_python", "_total"), counters.to_python
    yield _plain("evictions", "_total"), counters.evictions
    yield _plain("prefetched_names", "_total"), counters.prefetched
    yield _plain("inodes"), counters.inodes
    yield _plain("names"), counters.dentries
    yield _plain("bytes"), counters.memory
    yield _plain("known_inodes"), counters.known_inodes


def _requests(operation: str, answered: Answered) -> Iterator[tuple[_Key, float]]:
    """Errors are all ENODATA: no other is known without asking."""
    for result, count in (("ok", answered.ok), ("ENODATA", answered.errors)):
        if count:
            labels = (("operation", operation), ("result", result))
            yield _Key("tierfs_requests", "tierfs_requests_total", labels), count


def _latency(
    operation: str, answered: Answered, buckets: Sequence[float]
) -> Iterator[tuple[_Key, float]]:
    """Buckets of a histogram hold all that was not slower."""
    family = "tierfs_request_seconds"
    label = ("operation", operation)
    if not any(answered.buckets):
        return
    for bound, count in zip((*buckets, INFINITE), accumulate(answered.buckets), strict=True):
        le = ("le", "+Inf" if bound == INFINITE else repr(bound))
        yield _Key(family, f"{family}_bucket", (le, label)), count
    yield _Key(family, f"{family}_count", (label,)), sum(answered.buckets)
    yield _Key(family, f"{family}_sum", (label,)), answered.seconds


def _plain(name: str, suffix: str = "") -> _Key:
    family = f"tierfs_fast_path_{name}"
    return _Key(family, family + suffix, ())
