from __future__ import annotations

import json
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from uuid import UUID

import pytest

from tierfs.common.errors import ConfigError
from tierfs.daemon import logs
from tierfs.daemon.logs import JournalHandler, default_log_file, start_logging
from tierfs.policy.volume_file import LogSettings

pytestmark = pytest.mark.once

LOG = logging.getLogger("tierfs.test")


@pytest.fixture(autouse=True)
def own_root_logger() -> Iterator[None]:
    """Give the test a root logger without handlers, and put back what was there."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def written(tmp_path: Path, style: Literal["text", "json"], level: str = "info") -> str:
    file = tmp_path / "deep" / "down.log"
    start_logging(LogSettings(style, level, file))
    LOG.debug("a detail")
    LOG.info("hello %s", "world")
    return file.read_text()


def test_a_line_of_text_has_time_level_and_logger(tmp_path: Path) -> None:
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    tierfs\.test: hello world\n"
    assert re.fullmatch(line, written(tmp_path, "text"))


def test_a_line_of_json_has_time_level_and_logger(tmp_path: Path) -> None:
    record = json.loads(written(tmp_path, "json"))
    assert re.fullmatch(r"[-\d]{10}T[:\d]{8}\.\d{3}Z", record.pop("time"))
    assert record == {"level": "INFO", "logger": "tierfs.test", "message": "hello world"}


def test_details_are_written_where_the_level_says_so(tmp_path: Path) -> None:
    assert "a detail" in written(tmp_path, "text", "debug")


def test_the_level_of_the_mount_options_wins(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogSettings("text", "debug", file), level="error")
    LOG.info("quiet")
    assert file.read_text() == ""


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogSettings("text", "info", file))
    LOG.info("one")
    file.rename(tmp_path / "log.1")
    LOG.info("two")
    assert "two" in file.read_text()


def test_names_that_are_no_utf8_do_not_hurt(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogSettings("text", "info", file))
    LOG.info("name %s", "\udcff")
    assert r"name \xff" in file.read_text()


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"log file .* cannot be opened: "):
        start_logging(LogSettings("text", "info", tmp_path / "file" / "log"))


def test_a_journal_that_cannot_be_opened_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JournalHandler.__init__, "__defaults__", (tmp_path / "none",))
    with pytest.raises(ConfigError, match="the journal cannot be opened"):
        start_logging(LogSettings("journald", "info", None))


@pytest.fixture
def journal() -> Iterator[socket.socket]:
    with (
        tempfile.TemporaryDirectory() as home,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        listening.bind(os.fspath(Path(home, "journal")))
        listening.settimeout(5)
        yield listening


@pytest.fixture
def handler(journal: socket.socket) -> Iterator[JournalHandler]:
    fields = {"TIERFS_VOLUME": "/etc/v.yaml", "TIERFS_MOUNTPOINT": "/mnt/a\nb"}
    handler = JournalHandler(fields, Path(journal.getsockname()))
    yield handler
    handler.close()


def record(message: str, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("tierfs.x", level, "/x.py", 7, message, (), None, "work")


def test_the_journal_gets_a_record_in_fields(
    journal: socket.socket, handler: JournalHandler
) -> None:
    handler.emit(record("it broke"))
    assert journal.recv(4096).splitlines() == [
        b"MESSAGE=it broke",
        b"PRIORITY=3",
        b"SYSLOG_IDENTIFIER=tierfs",
        b"LOGGER=tierfs.x",
        b"CODE_FILE=/x.py",
        b"CODE_LINE=7",
        b"CODE_FUNC=work",
        b"TIERFS_VOLUME=/etc/v.yaml",
        *(b"TIERFS_MOUNTPOINT\n" + (8).to_bytes(8, "little") + b"/mnt/a\nb").splitlines(),
    ]


def test_the_journal_gets_several_lines_as_one_field(
    journal: socket.socket, handler: JournalHandler
) -> None:
    handler.emit(record("a\nb"))
    assert journal.recv(4096).startswith(b"MESSAGE\n\3\0\0\0\0\0\0\0a\nb\nPRIORITY=3\n")


def test_a_large_record_comes_as_a_sealed_file(
    journal: socket.socket, handler: JournalHandler
) -> None:
    handler.emit(record("x" * 2_000_000))
    _, descriptors, _, _ = socket.recv_fds(journal, 16, 1)
    with os.fdopen(descriptors[0], "rb") as file:
        assert file.seek(0, os.SEEK_END) > 2_000_000
        file.seek(0)
        assert file.read(11) == b"MESSAGE=xxx"
        with pytest.raises(PermissionError):
            os.truncate(file.fileno(), 0)


def test_the_default_file_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, file = UUID("98f91a12-82c8-4c17-a640-32466be0e199"), Path("/etc/t/my images.yaml")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path))
    name = "my_images-98f91a12.log"
    assert default_log_file(file, volume) == tmp_path / "tierfs" / name
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_log_file(file, volume) == Path("/var/log/tierfs") / name


def test_echo_ends_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(os, "dup2", lambda _from, to: taken.append(to))
    file = tmp_path / "log"
    start_logging(LogSettings("text", "info", file), echo=True)
    assert len(logging.getLogger().handlers) == 2
    logs.stop_echo(file)
    assert len(logging.getLogger().handlers) == 1
    assert taken == [1, 2]


HOSTILE = "a\n2026-01-01T00:00:00.000Z INFO    tierfs: all is well\x1b[2K\r\udcff"


def test_a_name_forges_no_record_and_moves_no_cursor(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogSettings("text", "info", file))
    LOG.warning("%s is damaged", HOSTILE)
    text = file.read_text()
    assert len(re.findall(r"(?m)^\d{4}-", text)) == 1
    assert r"\x1b[2K\r\xff is damaged" in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_json_can_be_decoded_whatever_the_name(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_logging(LogSettings("json", "info", file))
    LOG.warning("%s is damaged", HOSTILE)
    message = json.loads(file.read_text())["message"]
    message.encode()
    assert r"\x1b[2K\r\xff is damaged" in message


@pytest.mark.parametrize("existing", [True, False])
def test_the_log_is_ours_alone(tmp_path: Path, *, existing: bool) -> None:
    """Names of files stand in it, of directories that others may not list."""
    file = tmp_path / "new" / "log"
    if existing:
        file.parent.mkdir()
        file.touch(mode=0o644)
    start_logging(LogSettings("text", "info", file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert existing or file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.timeout(10)
def test_nothing_but_a_file_is_logged_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rotation somebody may have put a link or a FIFO there."""
    file, secret = tmp_path / "log", tmp_path / "secret"
    secret.write_text("secret")
    start_logging(LogSettings("text", "info", file))
    monkeypatch.setattr(logging, "raiseExceptions", False)  # or it tells so on standard error
    for put in (link_to_secret, os.mkfifo):
        file.unlink(missing_ok=True)
        put(file)
        LOG.info("lost")
        assert secret.read_text() == "secret"
    file.unlink()
    LOG.info("found")
    assert "found" in file.read_text()


def link_to_secret(path: Path) -> None:
    path.symlink_to(path.with_name("secret"))


def test_a_link_that_is_configured_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    start_logging(LogSettings("text", "info", tmp_path / "link"))
    LOG.info("hello")
    assert "hello" in (tmp_path / "target").read_text()


def test_no_log_at_all(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(os.devnull)
    start_logging(LogSettings("text", "info", tmp_path / "link"))
    LOG.info("hello")


def test_the_directory_that_tierfs_chooses_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions made /var/log/tierfs so that all could list it."""
    own = tmp_path / "tierfs"
    own.mkdir(mode=0o755)
    monkeypatch.setattr(logs, "OWN_DIRECTORY", own)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    start_logging(LogSettings("text", "info", own / "log"))
    assert own.stat().st_mode & 0o777 == 0o700
