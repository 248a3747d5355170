"""Whatever bytes are on flash, on disk or on a socket: what reads them says so, and goes on.

No reader may raise anything but the error that it documents, and none may take long. A failure
names the seed; ``TIERFS_SEED`` tries the same bytes again, ``TIERFS_FUZZ_SECONDS`` tries longer.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.fs.scenarios import populate
from tests.fuzz.mutator import SECONDS, SEED, mutations
from tests.guards.logs import ExpectLog
from tests.policy.loading import CONFIGS
from tests.support.volumes import LooseVolume, MakeVolume
from tierfs.common.errors import FsError, TierfsError
from tierfs.common.tierfs_xattrs import parse_pin, parse_prefix
from tierfs.daemon import control
from tierfs.daemon.listener import MAX_REQUEST
from tierfs.daemon.policy import explain_files
from tierfs.daemon.startup import parse_report
from tierfs.fsck.check import check
from tierfs.metadata.index import require_database
from tierfs.metadata.inodes import ROOT
from tierfs.policy.tier_policy import load_policy
from tierfs.policy.volume_file import load_volume_file
from tierfs.storage.markers import MARKER, Marker, read_marker, write_marker
from tierfs.tiering.access_log import (
    BadLine,
    FileFacts,
    Recording,
    Use,
    beginning_line,
    file_line,
    gone_line,
    parse,
    use_line,
)
from tierfs.tiering.access_recorder import RotatingLog
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_file import MAGIC, VERSION, BadSnapshot, pack_heat, unpack_heat

MOST_CPU_S = 5.0
"""Processor time for one input; usual is a thousandth."""

pytestmark = [pytest.mark.timeout(120 + 20 * SECONDS), pytest.mark.long]


def try_all(
    corpus: list[bytes], read: Callable[[bytes], object], allowed: type[Exception] = TierfsError
) -> None:
    """Let ``read`` have every mutation."""
    for data in mutations(corpus):
        began = time.thread_time()
        said = ""
        try:
            read(data)
        except allowed as exc:
            said = str(exc)
        except Exception as exc:
            exc.add_note(f"TIERFS_SEED={SEED}: {data[:200]!r}")
            raise
        assert said.replace("\n", "").isprintable(), (SEED, said, data[:1000])
        assert time.thread_time() - began < MOST_CPU_S, (SEED, data[:1000])


def test_garbage_in_a_marker_is_refused(tmp_path: Path) -> None:
    write_marker(tmp_path, Marker(uuid.uuid4(), "flash"))
    path = tmp_path / MARKER

    def read(data: bytes) -> None:
        path.write_bytes(data)
        read_marker(tmp_path, "flash")

    try_all([path.read_bytes()], read)


@pytest.fixture
def verbs() -> dict[str, control.Verb]:
    def typed(inos: list[int], name: str = "", *, sure: bool = False) -> dict[str, Any]:
        assert all(type(ino) is int for ino in inos)
        assert type(name) is str
        assert type(sure) is bool
        return {"name": name}

    def status() -> dict[str, Any]:
        return {}

    return {
        "status": status,
        "typed": typed,
        "policy explain": partial(explain_files, lambda _inos: None),
    }


def test_garbage_on_the_control_socket_is_answered(verbs: dict[str, control.Verb]) -> None:
    """The guard on logs fails the test when one of them leaves a traceback."""
    corpus = [
        b'{"verb": "status"}',
        b'{"verb": "typed", "arguments": {"inos": [1, 2], "name": "a", "sure": true}}',
        b'{"verb": "policy explain", "arguments": {"inos": [4711]}}',
    ]

    ours, theirs = socket.socketpair()

    def ask(line: bytes) -> None:
        reply = control._reply(verbs, line[:MAX_REQUEST], threading.BoundedSemaphore(1), theirs)
        json.dumps(reply).encode()
        assert reply.keys() <= {"result", "error"}

    with ours, theirs:
        try_all(corpus, ask)


def used(heat: Heat) -> None:
    """What a mount does with a table."""
    now = 10**18
    heat.feed([(ino, 1, 4096) for ino in range(1, 40)], now)
    for ino in range(40):
        heat.look(ino, now)
        heat.visits(ino, now)
    _ = heat.typical
    pack_heat(heat)


def some_heat(capacity: int = 64) -> Heat:
    heat = Heat(capacity)
    for second in range(1, 100):
        heat.feed([(ino, 1, 4096) for ino in range(1, 50, second % 7 + 1)], second * 10**10)
    return heat


def test_garbage_in_a_heat_snapshot_is_refused() -> None:
    """As they are, and packed with a checksum that is right."""
    whole = pack_heat(some_heat())
    table = zlib.decompress(whole[16:])

    def read(data: bytes) -> None:
        packed = zlib.compress(data, 1)
        head = struct.pack("<8sII", MAGIC, VERSION, zlib.crc32(packed))
        for snapshot in (data, head + packed):
            for capacity in (64, 16):
                heat = Heat(capacity)
                try:
                    unpack_heat(heat, snapshot)
                except BadSnapshot:
                    continue
                used(heat)

    try_all([whole, table, pack_heat(Heat(8))], read, BadSnapshot)


LINES = [
    beginning_line(65536, 10**12),
    use_line(Use(1_700_000_000_250_000_000, 4711, 65536, 3)),
    use_line(Use(1_700_000_000_250_000_000, 4711, 65536, write=True)),
    gone_line(4711),
    file_line(FileFacts(1, 2, 3, 4, 5, 6, (b"/a\n\xff",), ((b"user.x", b"\0"),))),
]


def test_lines_of_an_access_log() -> None:
    try_all([*LINES, b"".join(LINES)], parse, BadLine)


def test_garbage_in_an_access_log_is_skipped(tmp_path: Path) -> None:
    """Read for a replay, and continued by a mount."""
    path = tmp_path / "log"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        RotatingLog(path, 4096, LINES[0]).close()
        path.write_bytes(data)
        list(Recording(path))

    try_all([b"".join(LINES), LINES[1] * 50], read)


@pytest.mark.parametrize("name", ["volume.example.yaml", "policy.example.yaml"])
def test_garbage_in_a_configuration_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    read: Callable[[Path], object] = load_volume_file if name.startswith("vol") else load_policy

    def load_file(data: bytes) -> None:
        path.write_bytes(data[: 16 * 1024])
        read(path)

    text = (CONFIGS / name).read_bytes()
    bare = b"\n".join(line for line in text.splitlines() if not line.lstrip().startswith(b"#"))
    try_all([text, bare], load_file)


def test_what_a_daemon_reports() -> None:
    corpus = [b"READY\n", b"FAILED 3\nno\n"]
    try_all(corpus, lambda data: parse_report(data.decode("utf-8", "surrogateescape")))


@pytest.mark.parametrize("parse_value", [parse_pin, parse_prefix])
def test_values_of_virtual_attributes(parse_value: Callable[[bytes], object]) -> None:
    try_all([b"7d", b"1", b"all", b"64KiB", b"1.5 GiB", b"none"], parse_value, ValueError)


@pytest.fixture
def image(make_volume: MakeVolume) -> Iterator[LooseVolume]:
    volume = make_volume()
    populate(volume)
    volume.close()
    yield volume
    volume.close()


def test_garbage_in_an_index_is_told_and_breaks_no_mount(
    image: LooseVolume, expect_log: ExpectLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Their pages are damaged in a few places: fsck tells it, and a mount does not break."""
    expect_log("inode|index|volume", required=False)
    index = image.settings.index
    good = index.read_bytes()

    def open_and_look(data: bytes) -> None:
        for beside in index.parent.glob("index.db-*"):
            beside.unlink()
        index.write_bytes(data)
        try:
            require_database(index)
            check(image.settings, thorough=len(data) % 2 == 0)
        finally:
            try:
                image.open()
                look(image)
            finally:
                image.close()

    try_all([good], open_and_look)
    assert not [record for record in caplog.records if record.exc_info]


def look(volume: LooseVolume) -> None:
    """As `ls -l` and `cat *` do."""
    for entry in islice(volume.fs.listing.after(ROOT), 100):
        try:
            volume.fs.attributes.get(entry.inode.ino)
            volume.fs.reads.read(entry.inode.ino, 0, 100)
        except FsError:
            continue
