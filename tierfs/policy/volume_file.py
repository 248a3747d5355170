"""The volume file: which two directories make a filesystem, and how its daemon behaves.

The keys are documented in docs/reference/volume-file.md and shown in configs/volume.example.yaml.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from tierfs.common.units import DAY, GIB, KIB, MIB, SECOND
from tierfs.policy.diagnostics import START, Position
from tierfs.policy.schema import EMPTY, Field, Record, Schema, read_document
from tierfs.policy.units import Duration, Microseconds, Size
from tierfs.policy.values import (
    Boolean,
    Choice,
    Count,
    FormatVersion,
    GroupName,
    KeywordOr,
    ListenAddress,
    ListOf,
    LocalPath,
    TagName,
)
from tierfs.policy.yaml import load_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierfs.policy.diagnostics import Diagnostics

LogFormat: TypeAlias = Literal["text", "json", "journald"]

FeedCopying: TypeAlias = Literal["async", "sync"]

INDEX_NAME = "index.db"
"""The index's name in the flash directory, when the volume file does not say where it is."""

HEAD_STEP = 4 * KIB
"""Heads are whole pages, so that the page cache never straddles flash and disk."""

DEFAULT_TIERING_MEMORY = 32 * MIB

DEFAULT_SCRUB_INTERVAL = 30 * DAY

OFF = 0
"""Of ``scrub.interval``: no scrub begins by itself. Of ``training.memory``: nothing is taken."""

AUTO_MEMORY = -1
"""Of ``training.memory``: as much as suits the machine."""

AUTO = 0
"""Of ``threads``: as many as suit the machine."""

AUTO_LATENCY = -1
"""Of ``cpu_latency``: cores are kept awake where that was seen to help."""

ANY_LATENCY = -2
"""Of ``cpu_latency``: cores may sleep as they like."""


@dataclass(frozen=True, slots=True)
class FastPathSettings:
    """How requests are answered without Python; ``memory`` in bytes, ``spin_us`` a thread.

    ``cpu_latency_us`` may also be `AUTO_LATENCY` or `ANY_LATENCY`.
    """

    enabled: bool = True
    memory: int = 128 * MIB
    threads: int = AUTO
    spin_us: int = 200
    disk_threads: int = 32
    io_uring: bool = True
    prefetch_names: bool = True
    cpu_latency_us: int = AUTO_LATENCY


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the daemon logs; without a ``file`` it chooses one itself."""

    format: LogFormat
    level: str
    file: Path | None


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """Accesses are recorded to ``file``, and the last ``size`` bytes of them kept at most."""

    file: Path
    size: int


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Where, how often and how many backups of the index are kept.

    ``interval`` in nanoseconds; without a ``target`` they are in the disk directory; ``memory`` in
    bytes; with ``feed`` "sync" an fsync waits until the change feed is copied.
    """

    enabled: bool = True
    interval: int = 3600 * SECOND
    keep: int = 24
    target: Path | None = None
    memory: int = 64 * MIB
    feed: FeedCopying = "async"

    @property
    def at_sync(self) -> bool:
        """Whether an fsync waits for the copy of the change feed."""
        return self.enabled and self.feed == "sync"


@dataclass(frozen=True, slots=True)
class FactsSettings:
    """Whether header facts are read, and how long a file is left alone before: ``quiet`` in ns."""

    enabled: bool = False
    quiet: int = 60 * SECOND


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """What a volume file says, all paths absolute; ``head`` and ``tiering_memory`` are in bytes."""

    path: Path
    flash: Path
    disk: Path
    index: Path
    head: int
    policy: Path | None
    metrics_listen: tuple[str, int] | None
    log: LogSettings
    fast_path: FastPathSettings = field(default_factory=FastPathSettings)
    access_log: AccessLogSettings | None = None
    tiering_memory: int = DEFAULT_TIERING_MEMORY
    scrub_interval: int | None = DEFAULT_SCRUB_INTERVAL
    """Nanoseconds from the beginning of one scrub to that of the next; None: only on demand."""
    control_group: str | None = None
    """Whose members may ask what the daemon knows."""
    group_finds: bool = False
    """Whether that includes names and attributes of all files."""
    indexed_tags: tuple[str, ...] = ()
    """Extended attributes ``user.`` whose values are indexed."""
    allow_untrusted: bool = False
    backup: BackupSettings = field(default_factory=BackupSettings)
    training_memory: int | None = None
    """Bytes that may be read ahead for training jobs; None: a part of the machine's memory."""
    facts: FactsSettings = field(default_factory=FactsSettings)


# ------------------------------------------------------------------ keys

_FORMAT = FormatVersion(readable=1)
_DEFAULT = FastPathSettings()

VERSION = Field("version", _FORMAT, "1")
FLASH = Field("flash", LocalPath(), "/nvme/images")
DISK = Field("disk", LocalPath(), "/raid/images")
INDEX: Field[Path | None] = Field("index", LocalPath(), "/nvme/images/index.db", None)
HEAD = Field("head", Size(HEAD_STEP, GIB, HEAD_STEP), "64KiB", 64 * KIB)
POLICY: Field[Path | None] = Field("policy", LocalPath(), "policy.yaml", None)

LISTEN: Field[tuple[str, int] | None] = Field("listen", ListenAddress(), "127.0.0.1:9469", None)
METRICS = Field("metrics", Schema('"metrics"', (LISTEN,)), "{listen: 127.0.0.1:9469}", EMPTY)

GROUP: Field[str | None] = Field("group", GroupName(), "operators", None)
FIND = Field("find", Boolean(), "true", default=False)
CONTROL = Field("control", Schema('"control"', (GROUP, FIND)), "{group: operators}", EMPTY)

INDEXED: Field[tuple[str, ...]] = Field("index", ListOf(TagName(), "a tag"), "[user.label]", ())
TAGS = Field("tags", Schema('"tags"', (INDEXED,)), "{index: [user.label]}", EMPTY)

ENABLED = Field("enabled", Boolean(), "false", _DEFAULT.enabled)
MEMORY = Field("memory", Size(MIB, 1024 * GIB, 1), "512MiB", _DEFAULT.memory)
THREADS: Field[int] = Field("threads", KeywordOr({"auto": AUTO}, Count(16)), "2", _DEFAULT.threads)
SPIN = Field("spin", Microseconds(10_000), "200us", _DEFAULT.spin_us)
DISK_THREADS = Field("disk_threads", Count(256), "32", _DEFAULT.disk_threads)
IO_URING = Field("io_uring", Boolean(), "false", _DEFAULT.io_uring)
PREFETCH_NAMES = Field("prefetch_names", Boolean(), "false", _DEFAULT.prefetch_names)
CPU_LATENCY: Field[int] = Field(
    "cpu_latency",
    KeywordOr({"auto": AUTO_LATENCY, "any": ANY_LATENCY}, Microseconds(1000)),
    "0us",
    _DEFAULT.cpu_latency_us,
)
FAST_PATH_SCHEMA = Schema(
    '"fast_path"',
    (ENABLED, MEMORY, THREADS, SPIN, DISK_THREADS, IO_URING, PREFETCH_NAMES, CPU_LATENCY),
)
FAST_PATH = Field("fast_path", FAST_PATH_SCHEMA, "{memory: 512MiB}", EMPTY)

FORMATS: tuple[LogFormat, ...] = ("text", "json", "journald")
LEVELS = ("debug", "info", "warning", "error")
LOG_FORMAT: Field[LogFormat] = Field("format", Choice(FORMATS), "json", "text")
LOG_LEVEL = Field("level", Choice(LEVELS), "debug", "info")
LOG_FILE: Field[Path | None] = Field("file", LocalPath(), "/var/log/tierfs/images.log", None)
LOG_SCHEMA = Schema('"log"', (LOG_FORMAT, LOG_LEVEL, LOG_FILE))
LOG = Field("log", LOG_SCHEMA, "{format: json, level: info}", EMPTY)

ACCESS_FILE: Field[Path] = Field("file", LocalPath(), "/var/log/tierfs/images.access")
ACCESS_SIZE = Field("size", Size(MIB, 1024 * GIB, 1), "64MiB", 64 * MIB)
ACCESS_LOG: Field[Record | None] = Field(
    "access_log",
    Schema('"access_log"', (ACCESS_FILE, ACCESS_SIZE)),
    "{file: /var/log/tierfs/images.access}",
    None,
)

TIERING_MEMORY = Field("memory", Size(64 * KIB, 64 * GIB, 1), "32MiB", DEFAULT_TIERING_MEMORY)
TIERING = Field("tiering", Schema('"tiering"', (TIERING_MEMORY,)), "{memory: 32MiB}", EMPTY)

_BACKUP = BackupSettings()
FEED_COPYINGS: tuple[FeedCopying, ...] = ("async", "sync")
BACKED_UP = Field("enabled", Boolean(), "false", _BACKUP.enabled)
INTERVAL = Field("interval", Duration(), "1h", _BACKUP.interval)
KEEP = Field("keep", Count(10_000), "24", _BACKUP.keep)
TARGET: Field[Path | None] = Field("target", LocalPath(), "/backup/images", None)
BACKUP_MEMORY = Field("memory", Size(MIB, 1024 * GIB, 1), "64MiB", _BACKUP.memory)
FEED: Field[FeedCopying] = Field("feed", Choice(FEED_COPYINGS), "sync", _BACKUP.feed)
BACKUP = Field(
    "backup",
    Schema('"backup"', (BACKED_UP, INTERVAL, KEEP, TARGET, BACKUP_MEMORY, FEED)),
    "{interval: 1h, keep: 24}",
    EMPTY,
)
SCRUB_INTERVAL: Field[int] = Field(
    "interval", KeywordOr({"off": OFF}, Duration()), "30d", DEFAULT_SCRUB_INTERVAL
)
SCRUB = Field("scrub", Schema('"scrub"', (SCRUB_INTERVAL,)), "{interval: 30d}", EMPTY)

TRAINING_MEMORY: Field[int] = Field(
    "memory",
    KeywordOr({"auto": AUTO_MEMORY, "off": OFF}, Size(MIB, 1024 * GIB, 1)),
    "4GiB",
    AUTO_MEMORY,
)
TRAINING = Field("training", Schema('"training"', (TRAINING_MEMORY,)), "{memory: 4GiB}", EMPTY)
_FACTS = FactsSettings()
FACTS_READ = Field("enabled", Boolean(), "true", _FACTS.enabled)
QUIET = Field("quiet", Duration(), "60s", _FACTS.quiet)
FACTS = Field("facts", Schema('"facts"', (FACTS_READ, QUIET)), "{enabled: true}", EMPTY)

ALLOW_UNTRUSTED = Field("allow_untrusted", Boolean(), "true", default=False)

VOLUME = Schema(
    "the volume file",
    (
        VERSION,
        FLASH,
        DISK,
        INDEX,
        HEAD,
        POLICY,
        METRICS,
        CONTROL,
        TAGS,
        FAST_PATH,
        LOG,
        ACCESS_LOG,
        TIERING,
        BACKUP,
        SCRUB,
        TRAINING,
        FACTS,
        ALLOW_UNTRUSTED,
    ),
)


# ------------------------------------------------------------------ reading


def load_volume_file(path: Path) -> VolumeFile:
    """Read the volume file ``path``; relative paths in it start from its directory.

    Raises:
        ConfigError: it cannot be read, or is wrong; the message has a line for every mistake.
    """
    document = load_document(path)
    _FORMAT.require_not_newer(document, VERSION.name)
    record = read_document(VOLUME, document)
    home = path.absolute()
    _check(record, home, document.diagnostics)
    document.diagnostics.raise_if_any()
    return _settings(record, home)


def _settings(record: Record, home: Path) -> VolumeFile:
    def rooted(path: Path | None) -> Path | None:
        return home.parent / path if path else None

    flash = home.parent / record[FLASH]
    log, accesses, fast = record[LOG], record[ACCESS_LOG], record[FAST_PATH]
    backup, training = record[BACKUP], record[TRAINING][TRAINING_MEMORY]
    access_log = None
    if accesses:
        access_log = AccessLogSettings(home.parent / accesses[ACCESS_FILE], accesses[ACCESS_SIZE])
    return VolumeFile(
        path=home,
        flash=flash,
        disk=home.parent / record[DISK],
        index=rooted(record[INDEX]) or flash / INDEX_NAME,
        head=record[HEAD],
        policy=rooted(record[POLICY]),
        metrics_listen=record[METRICS][LISTEN],
        log=LogSettings(log[LOG_FORMAT], log[LOG_LEVEL], rooted(log[LOG_FILE])),
        fast_path=FastPathSettings(
            enabled=fast[ENABLED],
            memory=fast[MEMORY],
            threads=fast[THREADS],
            spin_us=fast[SPIN],
            disk_threads=fast[DISK_THREADS],
            io_uring=fast[IO_URING],
            prefetch_names=fast[PREFETCH_NAMES],
            cpu_latency_us=fast[CPU_LATENCY],
        ),
        access_log=access_log,
        tiering_memory=record[TIERING][TIERING_MEMORY],
        scrub_interval=record[SCRUB][SCRUB_INTERVAL] or None,
        control_group=record[CONTROL][GROUP],
        group_finds=record[CONTROL][FIND],
        indexed_tags=tuple(dict.fromkeys(record[TAGS][INDEXED])),
        allow_untrusted=record[ALLOW_UNTRUSTED],
        backup=BackupSettings(
            enabled=backup[BACKED_UP],
            interval=backup[INTERVAL],
            keep=backup[KEEP],
            target=rooted(backup[TARGET]),
            memory=backup[BACKUP_MEMORY],
            feed=backup[FEED],
        ),
        training_memory=None if training == AUTO_MEMORY else training,
        facts=FactsSettings(record[FACTS][FACTS_READ], record[FACTS][QUIET]),
    )


# ------------------------------------------------------------------ mistakes of more than one key


@dataclass(frozen=True, slots=True)
class _Named:
    """A path, the key that gave it as messages name it, and where that stands."""

    label: str
    path: Path
    position: Position

    @property
    def real(self) -> Path:
        """The path behind symbolic links; what does not exist yet is taken as written."""
        return Path(os.path.realpath(self.path))


def _check(record: Record, home: Path, diagnostics: Diagnostics) -> None:
    """The rules that concern more than one key, as far as the keys themselves are right."""

    def named(
        record: Record, field: Field[Path] | Field[Path | None], name: str = ""
    ) -> list[_Named]:
        path = record.get(field)
        label = f'"{name or field.name}"'
        position = record.position_of(field)
        return [_Named(label, home.parent / path, position)] if path else []

    log, accesses = record.get(LOG) or EMPTY, record.get(ACCESS_LOG) or EMPTY
    if log.get(LOG_FORMAT) == "journald" and log.get(LOG_FILE) is not None:
        hint = "remove it, or choose another format"
        position = log.position_of(LOG_FILE)
        diagnostics.add(position, '"file" has no use with format journald', hint)
    backup = record.get(BACKUP) or EMPTY
    if backup.get(FEED) == "sync" and backup.get(BACKED_UP) is False:
        hint = "remove it, or let 'enabled' be true"
        diagnostics.add(backup.position_of(FEED), '"feed" needs backups to go on from', hint)
    tiers = [*named(record, FLASH), *named(record, DISK)]
    for flash, disk in combinations(tiers, 2):
        _check_tiers(flash, disk, diagnostics)
    files = [
        _Named("the volume file", home, START),
        *named(record, INDEX),
        *named(record, POLICY),
        *named(log, LOG_FILE),
        *named(accesses, ACCESS_FILE, "access_log.file"),
    ]
    _check_files(files, tiers, diagnostics)


def _check_tiers(flash: _Named, disk: _Named, diagnostics: Diagnostics) -> None:
    """Flash and disk must be two directories, neither inside the other."""
    if flash.real == disk.real:
        what = f'"flash" and "disk" are the same directory, {flash.real}'
    elif flash.real.is_relative_to(disk.real):
        what = f'"flash" is inside "disk", {disk.real}'
    elif disk.real.is_relative_to(flash.real):
        what = f'"disk" is inside "flash", {flash.real}'
    else:
        return
    hint = "give each its own directory, on its own device"
    diagnostics.add(max(flash.position, disk.position), what, hint)


def _check_files(
    files: Sequence[_Named], tiers: Sequence[_Named], diagnostics: Diagnostics
) -> None:
    """No file serves two purposes, and none is a directory that a tier is or lies in."""
    for one, other in combinations(files, 2):
        if one.real == other.real:
            what = f"{other.label} is the same file as {one.label}, {one.real}"
            diagnostics.add(max(one.position, other.position), what, "give each its own file")
    for file in files:
        for tier in tiers:
            if tier.real.is_relative_to(file.real):
                what = (
                    f"{file.label} must be a file, but {tier.label} makes {file.real} a directory"
                )
                diagnostics.add(file.position, what, "add the name of a file")
