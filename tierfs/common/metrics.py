"""Every metric tierfs exports, in one table.

Names follow https://prometheus.io/docs/practices/naming/: base units, ``_total`` on counters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS = (
    25e-6,
    50e-6,
    1e-4,
    25e-5,
    5e-4,
    1e-3,
    25e-4,
    5e-3,
    1e-2,
    5e-2,
    0.1,
    0.5,
    1.0,
    5.0,
)
"""Seconds: from an answer out of memory to a disk in trouble."""


class Metric(NamedTuple):
    """One row of the table: what is exported under ``tierfs_NAME``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


TABLE = (
    Metric(
        "build_info",
        "gauge",
        ("version", "pyfuse3", "python"),
        "Always 1; the labels are the versions of tierfs, pyfuse3 and Python.",
    ),
    Metric(
        "requests",
        "counter",
        ("operation", "result"),
        "Requests answered; result is ok or an errno's name.",
    ),
    Metric("request_seconds", "histogram", ("operation",), "Time to answer a request."),
    Metric("read_bytes", "counter", ("tier",), "Bytes read from a tier for applications."),
    Metric("written_bytes", "counter", ("tier",), "Bytes written to a tier for applications."),
    Metric("moved_bytes", "counter", ("source", "target"), "Bytes moved between the tiers."),
    Metric(
        "index_transactions",
        "counter",
        ("result",),
        "Transactions on the metadata index; commit or rollback.",
    ),
    Metric("damage", "counter", (), "Operations that found an object missing or short."),
    Metric(
        "changed_outside",
        "counter",
        (),
        "Operations that found the original of an adopted file changed by others.",
    ),
    Metric(
        "mirror_reads",
        "counter",
        (),
        "Reads that the copy on disk answered, since flash failed or had lost the bytes.",
    ),
    Metric(
        "wrong_copies",
        "counter",
        ("copy", "outcome"),
        "Copies of bytes that differed from their checksum or could not be read, where a scrub "
        "read them; copy is head, mirror or tail, outcome is healed, lost or failed.",
    ),
    Metric(
        "lost_files",
        "gauge",
        (),
        "Files with bytes that differ from their checksum and that no copy has right: reading "
        "them gives EIO.",
    ),
    Metric("verified_bytes", "counter", (), "Bytes that the scrub compared with checksums."),
    Metric("scrub_progress", "gauge", (), "How much of the current scrub is done, 0 to 1."),
    Metric(
        "verified_since_timestamp_seconds",
        "gauge",
        (),
        "When the last complete scrub began, since the epoch; 0: none was.",
    ),
    Metric("sync_failures", "counter", (), "Files whose bytes could not be synced."),
    Metric(
        "dirty_files",
        "gauge",
        (),
        "Files made or changed since the last checkpoint, synced or not.",
    ),
    Metric("handler_failures", "counter", (), "Requests that ended in an unexpected exception."),
    Metric(
        "background_failures",
        "counter",
        ("task",),
        "Times that a background task of the daemon failed; each is tried again.",
    ),
    Metric(
        "connections_refused",
        "counter",
        ("listener",),
        "Connections to the metrics or the control socket that were dropped for want of room.",
    ),
    Metric("reclaimed_files", "counter", (), "Unlinked files whose objects were removed."),
    Metric(
        "fast_path_to_python",
        "counter",
        (),
        "Requests that the fast path could not answer and gave to Python.",
    ),
    Metric("fast_path_evictions", "counter", (), "Entries evicted from the metadata cache."),
    Metric("fast_path_prefetched_names", "counter", (), "Names told to the kernel ahead."),
    Metric("fast_path_inodes", "gauge", (), "Inodes that the fast path can answer for."),
    Metric("fast_path_names", "gauge", (), "Names that it can answer for, absent ones included."),
    Metric("fast_path_bytes", "gauge", (), "Memory that it takes for them."),
    Metric("fast_path_known_inodes", "gauge", (), "Inodes that the kernel knows."),
    Metric("index_wal_bytes", "gauge", (), "Size of the index's write-ahead log."),
    Metric(
        "policy_loads",
        "counter",
        ("result",),
        "Times the tier policy was read; result is applied, unchanged or refused.",
    ),
    Metric(
        "policy_valid",
        "gauge",
        (),
        "Whether the policy's file is right: 0 while the last good policy holds without it.",
    ),
    Metric(
        "policy_loaded_timestamp_seconds",
        "gauge",
        (),
        "Since when the policy is in force, since the epoch; 0 without one.",
    ),
    Metric(
        "moves",
        "counter",
        ("kind", "outcome"),
        "Files that the mover took up; kind is evict, hand, mirror, promote or demote; outcome is "
        "moved, changed, gone, no-room, nothing or error.",
    ),
    Metric("move_copied_bytes", "counter", ("kind",), "Bytes that moves copied between tiers."),
    Metric("move_freed_bytes", "counter", ("kind",), "Bytes that moves freed on flash."),
    Metric("moves_waiting", "gauge", ("kind",), "Jobs that wait for the mover."),
    Metric(
        "mover_suspended",
        "gauge",
        (),
        "Whether nothing is moved, since too many moves failed: 1 or 0.",
    ),
    Metric("flash_used_bytes", "gauge", (), "Bytes of flash in use, by tierfs and by others."),
    Metric(
        "flash_watermark_bytes",
        "gauge",
        ("mark",),
        "Bytes in use above which files are evicted (high), and down to which (low).",
    ),
    Metric("flash_inodes", "gauge", (), "Inodes of flash's filesystem; 0: it counts none."),
    Metric("flash_inodes_used", "gauge", (), "Inodes of it in use, by anything."),
    Metric(
        "flash_inodes_watermark",
        "gauge",
        ("mark",),
        "Inodes in use above which files are evicted (high), and down to which (low).",
    ),
    Metric("flash_only_files", "gauge", (), "Files of which only flash has all bytes."),
    Metric("flash_only_bytes", "gauge", (), "Bytes that would be lost with flash: not mirrored."),
    Metric(
        "flash_only_oldest_timestamp_seconds",
        "gauge",
        (),
        "When the oldest of these files was changed last, since the epoch; 0: none is known.",
    ),
    Metric("pinned_files", "gauge", (), "Files that are pinned, by hand or by a rule."),
    Metric("pinned_bytes", "gauge", (), "Bytes of them that belong on flash."),
    Metric(
        "pinned_elsewhere_files",
        "gauge",
        ("reason",),
        "Pinned files that are not on flash as they should be; reason is room, inodes, window, "
        "rate, backoff, closed or error.",
    ),
    Metric("pinned_elsewhere_bytes", "gauge", ("reason",), "Bytes of them that are not on flash."),
    Metric(
        "misplaced_files",
        "gauge",
        ("reason",),
        "Files that are to be moved and wait, pinned ones included.",
    ),
    Metric("misplaced_bytes", "gauge", ("reason",), "Bytes of them that are to be moved."),
    Metric("scan_progress", "gauge", (), "How much of the current scan is done, 0 to 1."),
    Metric("scans", "gauge", (), "Scans of the index since the mount."),
    Metric(
        "tier_size_bytes",
        "gauge",
        ("tier",),
        "Size of the filesystem of a tier's directory, at the time of the scrape; NaN when it "
        "does not answer.",
    ),
    Metric(
        "tier_free_bytes",
        "gauge",
        ("tier",),
        "Free bytes of a tier's directory, at the time of the scrape; NaN when it does not answer.",
    ),
    Metric(
        "tier_answers",
        "gauge",
        ("tier",),
        "Whether a tier's directory could be read, at the time of the scrape: 1 or 0.",
    ),
)


class HotCounter(Counter):
    """A counter without the check whether it has all its labels, which takes longer than counting.

    Every counter here is made with them, as types show.
    """

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002 - as Counter
        """Count; ``amount`` must not be below 0."""
        self._value.inc(amount)


class Metrics:
    """The metrics of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.build_info = self._gauge("build_info")
        self.requests = self._counter("requests")
        self.request_seconds = cast("Histogram", self._make("request_seconds"))
        self.read_bytes = self._counter("read_bytes")
        self.written_bytes = self._counter("written_bytes")
        self.moved_bytes = self._counter("moved_bytes")
        self.index_transactions = self._counter("index_transactions")
        self.damage = self._counter("damage")
        self.changed_outside = self._counter("changed_outside")
        self.mirror_reads = self._counter("mirror_reads")
        self.wrong_copies = self._counter("wrong_copies")
        self.lost_files = self._gauge("lost_files")
        self.verified_bytes = self._counter("verified_bytes")
        self.scrub_progress = self._gauge("scrub_progress")
        self.verified_since_timestamp_seconds = self._gauge("verified_since_timestamp_seconds")
        self.sync_failures = self._counter("sync_failures")
        self.dirty_files = self._gauge("dirty_files")
        self.handler_failures = self._counter("handler_failures")
        self.background_failures = self._counter("background_failures")
        self.connections_refused = self._counter("connections_refused")
        self.reclaimed_files = self._counter("reclaimed_files")
        for row in TABLE:
            if row.name.startswith("fast_path_"):
                self._make(row.name)  # its values come from the router, at each scrape
        self.index_wal_bytes = self._gauge("index_wal_bytes")
        self.policy_loads = self._counter("policy_loads")
        self.policy_valid = self._gauge("policy_valid")
        self.policy_loaded_timestamp_seconds = self._gauge("policy_loaded_timestamp_seconds")
        self.moves = self._counter("moves")
        self.move_copied_bytes = self._counter("move_copied_bytes")
        self.move_freed_bytes = self._counter("move_freed_bytes")
        self.moves_waiting = self._gauge("moves_waiting")
        self.mover_suspended = self._gauge("mover_suspended")
        self.flash_used_bytes = self._gauge("flash_used_bytes")
        self.flash_watermark_bytes = self._gauge("flash_watermark_bytes")
        self.flash_inodes = self._gauge("flash_inodes")
        self.flash_inodes_used = self._gauge("flash_inodes_used")
        self.flash_inodes_watermark = self._gauge("flash_inodes_watermark")
        self.flash_only_files = self._gauge("flash_only_files")
        self.flash_only_bytes = self._gauge("flash_only_bytes")
        self.flash_only_oldest_timestamp_seconds = self._gauge(
            "flash_only_oldest_timestamp_seconds"
        )
        self.pinned_files = self._gauge("pinned_files")
        self.pinned_bytes = self._gauge("pinned_bytes")
        self.pinned_elsewhere_files = self._gauge("pinned_elsewhere_files")
        self.pinned_elsewhere_bytes = self._gauge("pinned_elsewhere_bytes")
        self.misplaced_files = self._gauge("misplaced_files")
        self.misplaced_bytes = self._gauge("misplaced_bytes")
        self.scan_progress = self._gauge("scan_progress")
        self.scans = self._gauge("scans")
        self.tier_size_bytes = self._gauge("tier_size_bytes")
        self.tier_free_bytes = self._gauge("tier_free_bytes")
        self.tier_answers = self._gauge("tier_answers")

    def watch_space(
        self, tier: str, size: Callable[[], float], available: Callable[[], float]
    ) -> None:
        """Export what both return, in bytes, as the size of a tier and its room; must not hang."""
        self.tier_size_bytes.labels(tier).set_function(size)
        self.tier_free_bytes.labels(tier).set_function(available)

    def watch_answers(self, tier: str, answers: Callable[[], bool]) -> None:
        """Export what ``answers`` returns as whether a tier answers; must not hang."""
        self.tier_answers.labels(tier).set_function(answers)

    def _counter(self, name: str) -> Counter:
        return cast("Counter", self._make(name))

    def _gauge(self, name: str) -> Gauge:
        return cast("Gauge", self._make(name))

    def _make(self, name: str) -> Counter | Gauge | Histogram:
        row = next(metric for metric in TABLE if metric.name == name)
        full = f"tierfs_{row.name}"
        if row.kind == "histogram":
            return Histogram(
                full, row.help, row.labels, registry=self.registry, buckets=LATENCY_BUCKETS
            )
        kind: Callable[..., Counter | Gauge] = HotCounter if row.kind == "counter" else Gauge
        return kind(full, row.help, row.labels, registry=self.registry)
