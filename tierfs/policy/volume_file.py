"""The volume file: which two directories make a filesystem, and how its daemon behaves.

The keys are documented in docs/reference/volume-file.md and shown in configs/volume.example.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from tierfs.base.units import GIB, KIB, MIB
from tierfs.policy import access_log
from tierfs.policy.access_log import AccessLogSettings
from tierfs.policy.document import Document, Mapping, load_document
from tierfs.policy.fast_path import FAST_PATH, FastPathSettings
from tierfs.policy.fields import NOTHING_GIVEN, Field, Record, Table, read_document
from tierfs.policy.problems import START
from tierfs.policy.readers import Choice, FormatVersion, GroupName, ListenAddress, LocalPath, Size
from tierfs.policy.values import Flag
from tierfs.policy.volume_paths import Named, check_files, check_tiers
from tierfs.policy.volume_template import render_volume_file

if TYPE_CHECKING:
    from tierfs.policy.problems import Problems

__all__ = ["LogFormat", "LogSettings", "VolumeFile", "load_volume_file", "render_volume_file"]

LogFormat: TypeAlias = Literal["text", "json", "journald"]

INDEX_NAME = "index.db"
"""The index's name in the flash directory, when the volume file does not say where it is."""

HEAD_STEP = 4 * KIB
"""Heads are whole pages, so that the page cache never straddles flash and disk."""

_FORMAT = FormatVersion(readable=1)

VERSION = Field("version", _FORMAT, "1")
FLASH = Field("flash", LocalPath(), "/nvme/images")
DISK = Field("disk", LocalPath(), "/raid/images")
INDEX: Field[Path | None] = Field("index", LocalPath(), "/nvme/images/index.db", None)
HEAD = Field("head", Size(HEAD_STEP, GIB, HEAD_STEP), "64KiB", 64 * KIB)
POLICY: Field[Path | None] = Field("policy", LocalPath(), "policy.yaml", None)

LISTEN: Field[tuple[str, int] | None] = Field("listen", ListenAddress(), "127.0.0.1:9469", None)
METRICS = Field("metrics", Table('"metrics"', (LISTEN,)), "{listen: 127.0.0.1:9469}", NOTHING_GIVEN)

GROUP: Field[str | None] = Field("group", GroupName(), "operators", None)
CONTROL = Field("control", Table('"control"', (GROUP,)), "{group: operators}", NOTHING_GIVEN)

FAST = Field("fast_path", FAST_PATH, "{memory: 512MiB}", NOTHING_GIVEN)

FORMATS: tuple[LogFormat, ...] = ("text", "json", "journald")
LEVELS = ("debug", "info", "warning", "error")
LOG_FORMAT: Field[LogFormat] = Field("format", Choice(FORMATS), "json", "text")
LOG_LEVEL = Field("level", Choice(LEVELS), "debug", "info")
LOG_FILE: Field[Path | None] = Field("file", LocalPath(), "/var/log/tierfs/images.log", None)
LOG_TABLE = Table('"log"', (LOG_FORMAT, LOG_LEVEL, LOG_FILE))
LOG = Field("log", LOG_TABLE, "{format: json, level: info}", NOTHING_GIVEN)

ACCESSES: Field[Record | None] = Field(
    "access_log", access_log.ACCESS_LOG, "{file: /var/log/tierfs/images.access}", None
)

DEFAULT_TIERING_MEMORY = 32 * MIB
TIERING_MEMORY = Field("memory", Size(64 * KIB, 64 * GIB, 1), "32MiB", DEFAULT_TIERING_MEMORY)
TIERING = Field("tiering", Table('"tiering"', (TIERING_MEMORY,)), "{memory: 32MiB}", NOTHING_GIVEN)

ALLOW_UNTRUSTED = Field("allow_untrusted", Flag(), "true", default=False)

VOLUME = Table(
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
        FAST,
        LOG,
        ACCESSES,
        TIERING,
        ALLOW_UNTRUSTED,
    ),
)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How the daemon logs; without a ``file`` it chooses one itself."""

    format: LogFormat
    level: str
    file: Path | None


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
    control_group: str | None = None
    """Whose members may ask what the daemon knows."""
    allow_untrusted: bool = False


def load_volume_file(path: Path) -> VolumeFile:
    """Read the volume file ``path``; relative paths in it start from its directory.

    Raises:
        ConfigError: it cannot be read, or is wrong; the message has a line for every mistake.
    """
    document = load_document(path)
    problems = document.problems
    _require_readable_version(document)
    record = read_document(VOLUME, document)
    home = path.absolute()
    _check(record, home, problems)
    problems.raise_if_any()
    return _settings(record, home)


def _require_readable_version(document: Document) -> None:
    if isinstance(document.root, Mapping):
        for entry in document.root.entries:
            if entry.key == VERSION.name:
                _FORMAT.require_not_newer(entry, document.problems)


def _check(record: Record, home: Path, problems: Problems) -> None:
    """The rules that concern more than one key, as far as the keys themselves are right."""
    log = record.good(LOG) or NOTHING_GIVEN
    if log.good(LOG_FORMAT) == "journald" and log.good(LOG_FILE) is not None:
        hint = "remove it, or choose another format"
        problems.add(log.place_of(LOG_FILE), '"file" has no use with format journald', hint)
    flash, disk = _named(record, FLASH, home), _named(record, DISK, home)
    if flash and disk:
        check_tiers(flash, disk, problems)
    files = [Named("the volume file", home, START)]
    accesses = record.good(ACCESSES) or NOTHING_GIVEN
    given = [
        _named(record, INDEX, home),
        _named(record, POLICY, home),
        _named(log, LOG_FILE, home),
        _named(accesses, access_log.FILE, home, "access_log.file"),
    ]
    check_files(files + [file for file in given if file], [t for t in (flash, disk) if t], problems)


def _named(
    record: Record, field: Field[Path] | Field[Path | None], home: Path, name: str = ""
) -> Named | None:
    path = record.good(field)
    label = f'"{name or field.name}"'
    return Named(label, home.parent / path, record.place_of(field)) if path else None


def _settings(record: Record, home: Path) -> VolumeFile:
    def rooted(path: Path | None) -> Path | None:
        return home.parent / path if path else None

    flash = home.parent / record[FLASH]
    log, accesses = record[LOG], record[ACCESSES]
    return VolumeFile(
        path=home,
        flash=flash,
        disk=home.parent / record[DISK],
        index=rooted(record[INDEX]) or flash / INDEX_NAME,
        head=record[HEAD],
        policy=rooted(record[POLICY]),
        metrics_listen=record[METRICS][LISTEN],
        log=LogSettings(log[LOG_FORMAT], log[LOG_LEVEL], rooted(log[LOG_FILE])),
        fast_path=FastPathSettings.of(record[FAST]),
        access_log=AccessLogSettings.of(accesses, home.parent) if accesses else None,
        tiering_memory=record[TIERING][TIERING_MEMORY],
        control_group=record[CONTROL][GROUP],
        allow_untrusted=record[ALLOW_UNTRUSTED],
    )
