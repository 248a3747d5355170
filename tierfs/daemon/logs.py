"""Where the daemon's log goes and what a line of it looks like.

Text for people, JSON for collectors, or the journal by systemd's native protocol.
"""

from __future__ import annotations

import copy
import errno
import fcntl
import logging
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from pythonjsonlogger.json import JsonFormatter

from tierfs.common.beneath import make_private
from tierfs.common.errors import ConfigError, printable, printable_lines
from tierfs.policy.volume_file import LogSettings

JOURNAL: Final = Path("/run/systemd/journal/socket")
TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JSON: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
JSON_NAMES: Final = {"asctime": "time", "levelname": "level", "name": "logger"}
SECONDS: Final = "%Y-%m-%dT%H:%M:%S"
MILLISECONDS: Final = "%s.%03dZ"
SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
"""journald maps a file only if its sender can no longer change it."""

PRIVATE: Final = 0o700
FILE_MODE: Final = 0o600
OWN_DIRECTORY: Final = Path("/var/log/tierfs")
"""Where root's daemons log when the volume file does not say."""

_LONGEST_STEM: Final = 100
"""Characters of a volume file's name in that of its log."""

_LIKE_A_RECORD: Final = re.compile(r"\d{4}-\d\d-\d\dT")

_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.DEBUG, 7),
)
"""Python's levels as those of syslog(3)."""


class OneLineFormatter(logging.Formatter):
    """Control characters and bytes that are not UTF-8 become escapes: messages contain file names.

    The message of an exception may have several lines, like a traceback; those that look like the
    first of a record are indented. Text and paths among the arguments have one line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        first, *more = printable_lines(super().format(_with_escapes(record))).split("\n")
        return "\n".join(
            [first, *(f"    {line}" if _LIKE_A_RECORD.match(line) else line for line in more)]
        )


class OneLineJson(JsonFormatter):
    """JSON in which every string can be decoded: bytes that are not UTF-8 become escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        return super().format(_with_escapes(record))

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """The record's fields."""
        fields = super().process_log_record(log_data)
        return {
            name: printable_lines(value) if isinstance(value, str) else value
            for name, value in fields.items()
        }


def _with_escapes(record: logging.LogRecord) -> logging.LogRecord:
    """A copy whose arguments cannot break a line; other handlers get the record as it is."""
    if not isinstance(record.args, tuple):
        return record
    shown = copy.copy(record)
    shown.args = tuple(
        printable(value) if isinstance(value, str | Path) else value for value in record.args
    )
    return shown


def start_logging(
    settings: LogSettings,
    *,
    level: str | None = None,
    echo: bool = False,
    fields: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Send every record of this process to where ``settings`` say; without a file, to stderr.

    ``fields`` are what each record in the journal tells besides. ``level`` overrides that of the
    settings; with ``echo`` records go to stderr as well, until ``stop_echo``.

    Raises:
        ConfigError: the log file or the journal cannot be opened.
    """
    root = logging.getLogger()
    handlers = [_handler(settings, fields), *([_echo()] if echo else [])]
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for new in handlers:
        root.addHandler(new)
    root.setLevel((level or settings.level).upper())
    logging.captureWarnings(capture=True)


def stop_echo(log_file: Path | None) -> None:
    """End the echo and send what libraries print on stdout and stderr to ``log_file``."""
    root = logging.getLogger()
    for echo in [h for h in root.handlers if type(h) is logging.StreamHandler]:
        root.removeHandler(echo)
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = (
        os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        if log_file is None
        else _open_log(Path(os.path.realpath(log_file)))
    )
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def default_log_file(volume_file: Path, volume: UUID) -> Path:
    """Where a daemon's log goes when the volume file does not say: by its name and the UUID."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", volume_file.stem)[:_LONGEST_STEM]
    name = f"{stem}-{volume.hex[:8]}.log"
    if os.geteuid() == 0:
        return OWN_DIRECTORY / name
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "tierfs" / name


class JournalHandler(logging.Handler):
    """Writes to journald: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.

    ``fields`` are those that each record gets besides its own.
    """

    def __init__(self, fields: Mapping[str, str], path: Path = JOURNAL) -> None:
        super().__init__()
        self._own = tuple(_field(name, value) for name, value in fields.items())
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(os.fspath(path))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send ``record``, by a memory file when it is too large for a datagram."""
        try:
            self._send(b"".join(self._fields(record)))
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._send_file(datagram)

    def _send_file(self, data: bytes) -> None:
        descriptor = os.memfd_create("tierfs-log", os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
            socket.send_fds(self._socket, [b""], [descriptor])

    def _fields(self, record: logging.LogRecord) -> Iterator[bytes]:
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), 7)
        yield _field("MESSAGE", self.format(record))
        yield _field("PRIORITY", str(priority))
        yield _field("SYSLOG_IDENTIFIER", "tierfs")
        yield _field("LOGGER", record.name)
        yield _field("CODE_FILE", record.pathname)
        yield _field("CODE_LINE", str(record.lineno))
        yield _field("CODE_FUNC", record.funcName or "")
        yield from self._own


def _field(name: str, value: str) -> bytes:
    """A field of the native protocol; a value of several lines comes with its length."""
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def _handler(settings: LogSettings, fields: Mapping[str, str]) -> logging.Handler:
    try:
        if settings.format == "journald":
            journal = JournalHandler(fields)
            journal.setFormatter(OneLineFormatter("%(message)s"))
            return journal
        handler = _file_handler(settings.file) if settings.file else logging.StreamHandler()
    except OSError as error:
        where = "the journal" if settings.format == "journald" else f"log file {settings.file}"
        raise ConfigError(f"{where} cannot be opened: {error.strerror}") from error
    handler.setFormatter(_formatter(settings.format))
    return handler


def _echo() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter("text"))
    return handler


def _file_handler(path: Path) -> logging.Handler:
    """A handler that opens ``path`` again when logrotate(8) has moved it.

    Links in ``path`` are followed now, and not again. The directory, if there is none, is made for
    us alone; that which tierfs chooses itself is closed to others as well.
    """
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=PRIVATE, exist_ok=True)
    path = Path(os.path.realpath(path))
    if path.parent == OWN_DIRECTORY and os.geteuid() == 0:
        path.parent.chmod(PRIVATE)
    return _LogFile(path, encoding="utf-8", errors="backslashreplace")


class _LogFile(WatchedFileHandler):
    """Private, since it has file names; a link or FIFO in its place is not opened.

    A log whose filesystem fails loses records, but the caller gets no exception: the base class
    checks whether the file was moved before it starts to catch errors.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``; it is lost if it cannot be written, as on a full disk."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def _open(self) -> TextIOWrapper:
        descriptor = _open_log(Path(self.baseFilename))
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)


def _open_log(path: Path) -> int:
    """Open a log file, or a device such as /dev/null, to append.

    Raises:
        OSError: ELOOP for a symbolic link, ENXIO for a FIFO or socket that nobody reads.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, FILE_MODE)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        make_private(descriptor)
    return descriptor


def _formatter(style: str) -> logging.Formatter:
    if style == "json":
        formatter: logging.Formatter = OneLineJson(JSON, rename_fields=JSON_NAMES)
    else:
        formatter = OneLineFormatter(TEXT)
    formatter.default_time_format = SECONDS
    formatter.default_msec_format = MILLISECONDS
    formatter.converter = time.gmtime
    return formatter
