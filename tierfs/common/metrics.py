"""Every metric tierfs exports, in one table.

Names follow https://prometheus.io/docs/practices/naming/: base units, ``_total`` on counters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

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
    Metric(
        "backup_last_timestamp_seconds",
        "gauge",
        (),
        "When the last backup of the index was made, since the epoch; 0: there is none, or none "
        "is to be made.",
    ),
    Metric("backup_bytes", "gauge", (), "Size of the last backup."),
    Metric("backup_interval_seconds", "gauge", (), "Time between two backups; 0: they are off."),
    Metric("backup_failures", "counter", (), "Backups that could not be made."),
    Metric(
        "feed_behind", "gauge", (), "Changes of the feed that are not copied to the backups yet."
    ),
    Metric("feed_copy_failures", "counter", (), "Times that the feed could not be copied."),
    Metric(
        "facts_files",
        "counter",
        ("outcome",),
        "Files whose headers were looked at; outcome is found, none (no extractor knows them), "
        "error, or changed (somebody changed them meanwhile: they are looked at again).",
    ),
    Metric(
        "facts_pending", "gauge", (), "Files that changed and whose headers are to be looked at."
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
        "Connections to the metrics, the control or the training socket that were dropped for "
        "want of room.",
    ),
    Metric("announcements", "gauge", (), "Training jobs' announcements of what they read next."),
    Metric(
        "announced_files",
        "counter",
        ("result",),
        "Announced files that were reached; result is ready (read ahead by then), late, left (to "
        "the job, as a core was missing and no disk is needed), or failed (could not be read).",
    ),
    Metric("announced_bytes", "counter", (), "Bytes read ahead since they were announced."),
    Metric(
        "announced_wait_seconds",
        "counter",
        (),
        "How long training jobs have waited for announced files, as they say.",
    ),
    Metric(
        "takeovers",
        "counter",
        ("cause",),
        "Times since the mount that another daemon took over; cause is killed or upgrade.",
    ),
    Metric(
        "takeover_seconds",
        "gauge",
        (),
        "How long programs waited at the last takeover; 0: there was none.",
    ),
    Metric("resent_requests", "counter", (), "Requests that the kernel sent again after it."),
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

    def count(self) -> float:
        """What was counted so far."""
        return float(self._value.get())

    def follow(self, counted: Callable[[], float]) -> None:
        """Export what ``counted`` returns, which only grows, for who counts by itself."""
        self._value = _Followed(counted)


class _Followed:
    """In place of the value of a counter (``prometheus_client.values``)."""

    def __init__(self, get: Callable[[], float]) -> None:
        self.get = get

    @staticmethod
    def get_exemplar() -> None:
        """There is none."""


class Metrics:
    """The metrics of one daemon, in a registry of their own: an attribute for each row.

    The rows ``fast_path_*`` get their values from the router, at each scrape.
    """

    build_info: Gauge
    requests: HotCounter
    request_seconds: Histogram
    read_bytes: HotCounter
    written_bytes: HotCounter
    moved_bytes: HotCounter
    index_transactions: HotCounter
    damage: HotCounter
    changed_outside: HotCounter
    mirror_reads: HotCounter
    wrong_copies: HotCounter
    lost_files: Gauge
    verified_bytes: HotCounter
    scrub_progress: Gauge
    verified_since_timestamp_seconds: Gauge
    backup_last_timestamp_seconds: Gauge
    backup_bytes: Gauge
    backup_interval_seconds: Gauge
    backup_failures: HotCounter
    feed_behind: Gauge
    feed_copy_failures: HotCounter
    facts_files: HotCounter
    facts_pending: Gauge
    sync_failures: HotCounter
    dirty_files: Gauge
    handler_failures: HotCounter
    background_failures: HotCounter
    connections_refused: HotCounter
    announcements: Gauge
    announced_files: HotCounter
    announced_bytes: HotCounter
    announced_wait_seconds: HotCounter
    takeovers: HotCounter
    takeover_seconds: Gauge
    resent_requests: HotCounter
    reclaimed_files: HotCounter
    index_wal_bytes: Gauge
    policy_loads: HotCounter
    policy_valid: Gauge
    policy_loaded_timestamp_seconds: Gauge
    moves: HotCounter
    move_copied_bytes: HotCounter
    move_freed_bytes: HotCounter
    moves_waiting: Gauge
    mover_suspended: Gauge
    flash_used_bytes: Gauge
    flash_watermark_bytes: Gauge
    flash_inodes: Gauge
    flash_inodes_used: Gauge
    flash_inodes_watermark: Gauge
    flash_only_files: Gauge
    flash_only_bytes: Gauge
    flash_only_oldest_timestamp_seconds: Gauge
    pinned_files: Gauge
    pinned_bytes: Gauge
    pinned_elsewhere_files: Gauge
    pinned_elsewhere_bytes: Gauge
    misplaced_files: Gauge
    misplaced_bytes: Gauge
    scan_progress: Gauge
    scans: Gauge
    tier_size_bytes: Gauge
    tier_free_bytes: Gauge
    tier_answers: Gauge

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        makers: dict[str, Callable[..., Counter | Gauge | Histogram]] = {
            "counter": HotCounter,
            "gauge": Gauge,
            "histogram": partial(Histogram, buckets=LATENCY_BUCKETS),
        }
        for name, kind, labels, text in TABLE:
            made = makers[kind](f"tierfs_{name}", text, labels, registry=self.registry)
            setattr(self, name, made)

    def watch_space(
        self, tier: str, size: Callable[[], float], available: Callable[[], float]
    ) -> None:
        """Export what both return, in bytes, as the size of a tier and its room; must not hang."""
        self.tier_size_bytes.labels(tier).set_function(size)
        self.tier_free_bytes.labels(tier).set_function(available)

    def watch_answers(self, tier: str, answers: Callable[[], bool]) -> None:
        """Export what ``answers`` returns as whether a tier answers; must not hang."""
        self.tier_answers.labels(tier).set_function(answers)
