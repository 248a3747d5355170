"""``tierfs debug-bundle``: all that helps to find out what is wrong, in one file, without names."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import struct
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.messages import aligned
from tierfs.cli.redaction import Redactor
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import NotMounted, TierfsError, printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.logs import default_log_file
from tierfs.daemon.mountinfo import mount_above, mounts
from tierfs.daemon.mountpoint import tierfs_at, within
from tierfs.fs.identity import volume_uuid
from tierfs.policy.volume_file import VolumeFile, load_volume_file
from tierfs.policy.yaml import Mapping, Node, Scalar, load_document

LOG_BYTES: Final = 2 * 1024 * 1024
"""Of the end of a log."""
JOURNAL_LINES: Final = 20_000
SECONDS: Final = 10.0
"""For each part that asks somebody."""
HEADER: Final = struct.Struct(">16sH10xI4xI20xI")
"""Of an SQLite file: its page size, pages, free pages and user_version, which is the schema's."""
LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
OF_THE_MOUNT: Final = frozenset({"volume", "mountpoint"})
"""Labels that are paths."""
SETTINGS: Final = (
    "/sys/module/fuse/parameters/*",
    "/proc/sys/fs/fuse/*",
    "/proc/sys/fs/file-nr",
    "/proc/sys/vm/dirty_*",
    "/proc/sys/vm/swappiness",
    "/proc/sys/vm/vfs_cache_pressure",
    "/proc/pressure/*",
    "/proc/loadavg",
    "/proc/meminfo",
)
"""Files of the kernel that say how it is set and how it fares."""

MISSING = "missing.txt"
"""What the archive has no part of, and why."""

EXAMPLES = """
tierfs debug-bundle /mnt/images
tierfs debug-bundle --output /tmp/bundle.tar.gz /etc/tierfs/images.yaml
tierfs debug-bundle --with-names /mnt/images
"""


class Part(NamedTuple):
    """One file of the bundle."""

    name: str
    what: str
    make: Callable[[], str]
    """Its text; what it raises becomes the text."""


class Held(NamedTuple):
    """A part as it is in the bundle."""

    name: str
    bytes: int
    what: str
    missing: str
    """Why the part could not be made; empty: it could."""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="debug-bundle",
    short_help="Pack what helps to find an error into one file, without names.",
)
@click.argument("volume", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The archive (tar.gz), which must not be there.  [default: tierfs-debug-TIME.tar.gz]",
)
@click.option("--with-names", is_flag=True, help="Keep names and paths as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
@may_be_quiet
def command(volume: Path, *, output: Path | None, with_names: bool, as_json: bool) -> None:
    """Pack versions, settings, status, metrics and the log of a volume into an archive.

    Names of files, directories, rules and users are replaced by digests, which differ from bundle
    to bundle; what tierfs and the kernel say is kept. The bytes of files are never in it. It works
    for a volume that is not mounted, and while a mount hangs. Look at it before you send it.
    """
    target = output or Path(time.strftime("tierfs-debug-%Y%m%d-%H%M%S.tar.gz"))
    versions = _versions()
    redactor = Redactor(with_names=with_names, known=[platform.release(), *versions.values()])
    parts = list(_parts(volume, versions, redactor))
    try:
        with closing(tarfile.open(target, "x:gz")) as archive:
            target.chmod(0o600)
            with waiting_for("collecting"):
                held = [_add(archive, part) for part in parts]
                _add_missing(archive, held, redactor)
    except OSError as error:
        raise TierfsError(f"{target} cannot be written: {error.strerror}") from error
    if as_json:
        found = {"file": os.fspath(target), "holds": [one._asdict() for one in held]}
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"wrote {printable(target)}, {format_size(target.stat().st_size)}:")
    rows: list[tuple[str, ...]] = [
        (f"  {one.name}", format_size(one.bytes), one.what) for one in held if not one.missing
    ]
    for line in aligned(rows):
        click.echo(line)
    for one in held:
        if one.missing:
            click.echo(f"without {one.name}: {printable(one.missing)}")
    names = "Names are in it as they are." if with_names else "Names are replaced by digests."
    click.echo(f"{names} Look at it before you send it.")


def _add(archive: tarfile.TarFile, part: Part) -> Held:
    """Add a part, if it can be made."""
    try:
        text = part.make()
    except (OSError, TierfsError, subprocess.TimeoutExpired, TimeoutError, ValueError) as error:
        why = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.filename:
            why = f"{error.filename}: {error.strerror}"
        return Held(part.name, 0, part.what, why)
    return Held(part.name, _write(archive, part.name, text), part.what, "")


def _add_missing(archive: tarfile.TarFile, held: list[Held], redactor: Redactor) -> None:
    """Add why parts are missing, for who gets the archive alone."""
    lines = [f"{one.name}: {redactor.text(one.missing)}\n" for one in held if one.missing]
    if lines:
        _write(archive, MISSING, "".join(lines))


def _write(archive: tarfile.TarFile, name: str, text: str) -> int:
    """Add a file; returns its bytes."""
    data = text.encode("utf-8", "backslashreplace")
    entry = tarfile.TarInfo(f"tierfs-debug/{name}")
    entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(data))
    return len(data)


def _parts(path: Path, versions: dict[str, str], redactor: Redactor) -> Iterator[Part]:
    """What the bundle of a volume consists of.

    Raises:
        NotMounted: ``path`` is no mountpoint and no file.
    """
    try:
        file = Path(tierfs_at(path).source)
    except NotMounted:
        if not path.is_file():
            raise
        file = path

    def as_json(value: Any) -> str:  # noqa: ANN401 - any JSON
        return json.dumps(value, indent=2) + "\n"

    doctor = import_module("tierfs.cli.doctor")
    yield Part("versions.json", "versions of tierfs and its libraries", lambda: as_json(versions))
    yield Part("kernel.json", "the kernel and its settings", lambda: as_json(kernel()))
    yield Part(
        "doctor.json",
        "what tierfs doctor finds",
        lambda: as_json(
            redactor.document(
                [one._asdict() for one in chain(doctor.machine(), doctor.volume(file))]
            )
        ),
    )
    yield Part(
        "volume.json",
        "the volume file",
        lambda: as_json(redactor.settings(_plain(load_document(file).root))),
    )
    yield Part("policy.json", "the tier policy", lambda: as_json(redactor.settings(policy(file))))
    yield Part(
        "status.json",
        "what tierfs status shows",
        lambda: as_json(redactor.document(ask(path, "status", seconds=SECONDS, wait=SECONDS / 2))),
    )
    yield Part("metrics.txt", "the metrics", lambda: metrics(load_volume_file(file), redactor))
    yield Part("log.txt", "the end of the log", lambda: log(load_volume_file(file), redactor))
    yield Part("journal.txt", "what the journal has of it", lambda: journal(file, redactor))
    yield Part(
        "mounts.json",
        "the mounts of tierfs, and those below it",
        lambda: as_json(below(load_volume_file(file), redactor)),
    )
    yield Part("process.json", "the daemon's process", lambda: as_json(process(path)))
    yield Part(
        "index.json", "figures of the index", lambda: as_json(index(load_volume_file(file).index))
    )


def _versions() -> dict[str, str]:
    metadata = import_module("importlib.metadata")
    found = {"Python": platform.python_version()}
    for package in (
        "tierfs",
        "pyfuse3",
        "trio",
        "click",
        "prometheus-client",
        "xxhash",
        "zstandard",
    ):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "?"
    return found


def policy(file: Path) -> Any:  # noqa: ANN401 - any JSON
    """What the policy's file says.

    Raises:
        ConfigError: one of the two files is wrong.
        ValueError: the volume has no policy.
    """
    path = load_volume_file(file).policy
    if path is None:
        raise ValueError("the volume file names no policy")
    return _plain(load_document(path).root)


def kernel() -> dict[str, Any]:
    """The kernel, and what its files say."""
    files = sorted(path for pattern in SETTINGS for path in Path("/").glob(pattern[1:]))
    return {
        "release": platform.release(),
        "version": platform.version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "files": {os.fspath(path): _read(path) for path in files},
    }


def metrics(settings: VolumeFile, redactor: Redactor) -> str:
    """What the metrics endpoint answers, without the help texts.

    Raises:
        ValueError: none is configured.
        OSError: it does not answer.
    """
    if settings.metrics_listen is None:
        raise ValueError("the volume file has no metrics.listen")
    host, port = settings.metrics_listen
    shown = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{shown}:{port}/metrics", timeout=SECONDS) as answer:
        lines = answer.read().decode().splitlines()

    def label(found: re.Match[str]) -> str:
        own = found[1] not in OF_THE_MOUNT
        return f'{found[1]}="{found[2] if own else redactor.path(found[2])}"'

    return "\n".join(LABEL.sub(label, line) for line in lines if not line.startswith("#")) + "\n"


def log(settings: VolumeFile, redactor: Redactor) -> str:
    """The end of the daemon's log.

    Raises:
        ValueError: it is in the journal.
        OSError: it cannot be read.
    """
    if settings.log.format == "journald":
        raise ValueError("the log is in the journal")
    named = settings.log.file
    path = named or default_log_file(settings.path, within(SECONDS, lambda: volume_uuid(settings)))
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        lines = file.read().decode("utf-8", "backslashreplace").splitlines()
    return "\n".join(redactor.log(lines)) + "\n"


def journal(file: Path, redactor: Redactor) -> str:
    """What the daemon of the unit tierfs@NAME and one that logs to journald said, without hosts.

    Raises:
        ValueError: nothing.
        OSError: there is no journal.
    """
    found = subprocess.run(
        [
            *("journalctl", "--output=cat", "--no-pager", f"--lines={JOURNAL_LINES}"),
            *("SYSLOG_IDENTIFIER=tierfs", "+", f"_SYSTEMD_UNIT=tierfs@{file.stem}.service"),
        ],
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    lines = found.stdout.decode("utf-8", "backslashreplace").splitlines()
    said = [line for line in lines if not line.startswith("-- ")]
    if found.returncode or not said:
        raise ValueError("the journal has nothing of it")
    return "\n".join(redactor.log(said)) + "\n"


def below(settings: VolumeFile, redactor: Redactor) -> list[dict[str, Any]]:
    """The mounts of tierfs, and those in which the parts of this volume are."""
    places = (settings.flash, settings.disk, settings.index.parent)
    listed = mounts()
    wanted = [mount for mount in listed if mount.is_tierfs]
    for place in places:
        mount = mount_above(Path(os.path.realpath(place)), listed)
        wanted += [mount] if mount is not None and mount not in wanted else []
    return [
        {
            "path": redactor.path(mount.path),
            "type": mount.fstype,
            "source": redactor.path(mount.source),
            "options": redactor.text(mount.options),
            "of_the_filesystem": redactor.text(mount.super_options),
            "device": mount.device,
        }
        for mount in wanted
    ]


def process(path: Path) -> dict[str, Any]:
    """The daemon: memory, limits, descriptors by number, and what each thread waits for.

    Raises:
        NotMounted: there is none.
        OSError: it belongs to another user.
    """
    pid = ask(path, "status", seconds=SECONDS, wait=0)["pid"]
    home = Path("/proc", str(pid))
    threads = sorted((home / "task").iterdir(), key=lambda task: int(task.name))
    return {
        "status": _read(home / "status").splitlines(),
        "limits": _read(home / "limits").splitlines(),
        "io": _read(home / "io").splitlines(),
        "descriptors": len(os.listdir(home / "fd")),  # noqa: PTH208 - only how many
        "threads": [
            {
                "name": _read(task / "comm"),
                "state": _read(task / "stat").rpartition(") ")[2].split(" ", 1)[0],
                "waits_in": _read(task / "wchan"),
            }
            for task in threads
        ],
    }


def index(path: Path) -> dict[str, Any]:
    """Sizes of the index and its log, and its header; SQLite is not needed, nor a lock.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no SQLite file.
    """

    def read() -> dict[str, Any]:
        log = path.with_name(f"{path.name}-wal")
        with path.open("rb") as file:
            header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            raise ValueError("the index is empty")
        magic, page, pages, free, schema = HEADER.unpack(header)
        if not magic.startswith(b"SQLite format 3"):
            raise ValueError("the index is no SQLite file")
        return {
            "bytes": path.stat().st_size,
            "log_bytes": log.stat().st_size if log.exists() else None,
            "page_bytes": page,
            "pages": pages,
            "free_pages": free,
            "schema": schema,
        }

    return within(SECONDS, read)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0\n")
    except OSError as error:
        return error.strerror or "?"


def _plain(node: Node) -> Any:  # noqa: ANN401 - any JSON
    """A YAML node as JSON has it, each scalar as text."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Mapping):
        return {entry.key: _plain(entry.value) for entry in node.entries}
    return [_plain(item) for item in node.items]
