"""``tierfs doctor``: whether this machine and a volume are fit for tierfs, and what to do if not.

Nothing is changed: what a filesystem can do is tried on files without a name (O_TMPFILE).
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Final, Literal, NamedTuple

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.install_helpers import NAMES, SBIN
from tierfs.common.errors import ConfigError, ExitCode, VolumeRefused, printable
from tierfs.common.units import format_size
from tierfs.daemon.mountinfo import Mount, mount_above, mounts, volume_file_of
from tierfs.daemon.mountpoint import is_stale, within

Level = Literal["ok", "note", "warning", "error"]

ANSWER_S: Final = 5.0
"""A filesystem that does not answer by then is a finding."""
KERNEL: Final = (5, 10)
"""That of Debian 11; older ones were never tried."""
DESCRIPTORS: Final = 16_384
"""Dirty files keep descriptors; below this limit they are closed, by a sync, too often."""
NEARLY_FULL: Final = 0.05
"""Of a filesystem's bytes or inodes."""
EPOCH: Final = 1_767_225_600
"""2026-01-01: a clock before it was never set."""
NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.sshfs", "9p", "glusterfs"})
CUTS_POWER_SAFELY: Final = frozenset({"ext4", "xfs"})
"""The filesystems whose power cuts the tests try."""
FICLONE: Final = 0x40049409
"""Of ioctl_ficlone(2)."""
FUSE: Final = Path("/dev/fuse")
FUSE_CONF: Final = Path("/etc/fuse.conf")
RINGS: Final = Path("/sys/module/fuse/parameters/enable_uring")
BDI: Final = Path("/sys/class/bdi")
READ_AHEAD_KIB: Final = 32
"""Less is less than the smallest head that makes sense."""
BLOCK: Final = Path("/sys/dev/block")

SIGNS: Final[dict[Level, str]] = {"ok": "ok", "note": "note", "warning": "WARN", "error": "ERROR"}

EXAMPLES = """
tierfs doctor
tierfs doctor /etc/tierfs/images.yaml
tierfs doctor --json | jq '.findings[] | select(.level == "error")'
"""


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    subject: str
    """What it is about: a part of the machine, or a directory."""
    text: str
    remedy: str = ""
    """What to do; empty where nothing needs to be done."""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="doctor",
    short_help="Check whether this machine and a volume are fit for tierfs.",
)
@click.argument("volumes", metavar="[VOLUME.yaml|MOUNTPOINT]...", type=PATH, nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only.")
@click.pass_context
def command(ctx: click.Context, volumes: tuple[Path, ...], *, as_json: bool, quiet: bool) -> None:
    """Check the kernel, permissions, limits and versions, and the filesystems of volumes.

    Each finding that needs something to be done says what. The exit code is 0 without errors, and
    1 with one; warnings are not errors.
    """
    files = [volume_file_of(path) for path in volumes]
    found = [*machine(), *(one for path in files for one in volume(path))]
    if as_json:
        click.echo(json.dumps({"findings": [one._asdict() for one in found]}, indent=2))
    else:
        for one in found:
            if not quiet or one.level in {"warning", "error"}:
                click.echo(f"{SIGNS[one.level]:<6} {printable(one.subject)}: {printable(one.text)}")
                if one.remedy:
                    click.echo(f"       {printable(one.remedy)}")
        if not quiet:
            errors, warnings = (sum(one.level == level for one in found) for level in _BAD)
            click.echo(f"\n{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    if any(one.level == "error" for one in found):
        ctx.exit(ExitCode.UNEXPECTED)


_BAD: Final[tuple[Level, Level]] = ("error", "warning")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# ------------------------------------------------------------------ the machine


def machine() -> Iterator[Finding]:
    """What holds for every volume of this machine and this user."""
    yield kernel(platform.release())
    yield fuse_device(FUSE)
    yield from _privileges()
    yield rings(RINGS)
    yield descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield _extension()
    yield _versions()
    yield clock(time.time())
    yield from mounted(mounts())


def kernel(release: str) -> Finding:
    """Whether the kernel is new enough."""
    numbers = [
        int(word) for word in release.split("-", maxsplit=1)[0].split(".")[:2] if word.isdecimal()
    ]
    if tuple(numbers) < KERNEL:
        needed = ".".join(map(str, KERNEL))
        return Finding("error", "kernel", f"{release} is too old", f"use Linux {needed} or newer")
    return Finding("ok", "kernel", release)


def fuse_device(path: Path) -> Finding:
    """Whether FUSE can be used."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        remedy = {
            FileNotFoundError: "modprobe fuse; in a container: --device /dev/fuse",
            PermissionError: "chmod 0666 /dev/fuse, as udev does; in a container: --device "
            "/dev/fuse --cap-add SYS_ADMIN",
        }.get(type(error), "modprobe fuse")
        return Finding("error", "FUSE", f"{path}: {error.strerror}", remedy)
    return Finding("ok", "FUSE", f"{path} can be opened")


def _privileges() -> Iterator[Finding]:
    if os.geteuid() == 0:
        missing = [name for name in NAMES if not (SBIN / name).exists()]
        if missing:
            yield Finding(
                "note",
                "mount(8)",
                f"there is no {SBIN / missing[0]}: `mount -t tierfs` and fstab lines do not work",
                "tierfs install-helpers",
            )
        else:
            yield Finding("ok", "mount(8)", f"{SBIN / NAMES[0]} is there")
        return
    if shutil.which("fusermount3") is None:
        yield Finding(
            "error", "fusermount3", "is missing: only root can mount", "apt install fuse3"
        )
    else:
        yield others(FUSE_CONF)


def others(conf: Path) -> Finding:
    """Whether other users than the one that mounts may be let in."""
    try:
        lines = [line.strip() for line in conf.read_text(errors="replace").splitlines()]
    except OSError:
        lines = []
    if "user_allow_other" in lines:
        return Finding("ok", "allow_other", f"allowed by {conf}")
    return Finding(
        "note",
        "allow_other",
        "only you can use what you mount, not even root",
        f"for others, root writes the line user_allow_other into {conf}",
    )


def rings(setting: Path) -> Finding:
    """Whether the kernel offers FUSE over io_uring."""
    try:
        on = setting.read_text().strip() == "Y"
    except OSError:
        return Finding("ok", "io_uring", "this kernel has no FUSE over io_uring; none is needed")
    if on:
        return Finding("ok", "io_uring", "FUSE over io_uring is on")
    return Finding(
        "note",
        "io_uring",
        "FUSE over io_uring is off; it can be faster where many cores read",
        f"echo Y > {setting}, then mount again",
    )


def descriptors(limit: int) -> Finding:
    """Whether a daemon may have open files enough."""
    if limit == resource.RLIM_INFINITY or limit >= DESCRIPTORS:
        return Finding("ok", "open files", f"at most {limit:,} a process")
    return Finding(
        "warning",
        "open files",
        f"at most {limit:,} a process; below {DESCRIPTORS:,} many changed files make fsync slow",
        "raise it: LimitNOFILE= of the unit, or nofile in /etc/security/limits.conf",
    )


def _extension() -> Finding:
    try:
        import_module("tierfs.native._router")
    except ImportError as error:
        return Finding(
            "warning",
            "fast path",
            f"is missing, and every request goes through Python: {error}",
            "install tierfs again, with a C compiler",
        )
    return Finding("ok", "fast path", "is installed")


def _versions() -> Finding:
    packages = ("tierfs", "pyfuse3", "trio")
    told = []
    for package in packages:
        try:
            told.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            told.append(f"{package} from its source directory")
    return Finding("ok", "versions", f"{', '.join(told)}, Python {platform.python_version()}")


def clock(now: float) -> Finding:
    """Whether the clock was set; files get their times from it."""
    if now < EPOCH:
        shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now))
        return Finding(
            "error", "clock", f"says {shown} UTC", "set it: timedatectl set-ntp true, or date(1)"
        )
    return Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))


def mounted(listed: list[Mount]) -> Iterator[Finding]:
    """The mounts of tierfs: whether their daemons live, and how far the kernel reads ahead."""
    for mount in listed:
        if not mount.is_tierfs:
            continue
        subject = str(mount.path)
        if is_stale(mount.path):
            yield Finding(
                "error",
                subject,
                "is a dead mount: its daemon has ended, and every call fails with ENOTCONN",
                f"tierfs mount {mount.source} {mount.path}, which replaces it",
            )
            continue
        yield read_ahead(subject, BDI / mount.device / "read_ahead_kb")


def read_ahead(subject: str, setting: Path) -> Finding:
    """Whether the kernel reads ahead on a mount; the daemon sets it where it may."""
    try:
        kib = int(setting.read_text())
    except (OSError, ValueError):
        return Finding("note", subject, "is mounted; its read-ahead cannot be read")
    if kib < READ_AHEAD_KIB:
        return Finding(
            "warning",
            subject,
            f"the kernel reads only {kib} KiB ahead, so large files are slow",
            f"echo {READ_AHEAD_KIB} > {setting}, as root",
        )
    return Finding("ok", subject, f"is mounted; the kernel reads {kib} KiB ahead")


# ------------------------------------------------------------------ a volume


def volume(path: Path) -> Iterator[Finding]:
    """What holds for one volume: its file, its directories and the filesystems below."""
    policy = import_module("tierfs.policy.volume_file")
    identity = import_module("tierfs.fs.identity")
    try:
        settings = policy.load_volume_file(path)
    except ConfigError as error:
        yield Finding("error", "volume file", str(error))
        return
    try:
        uuid = within(ANSWER_S, lambda: identity.volume_uuid(settings))
    except VolumeRefused as error:
        yield Finding("error", "volume", str(error))
        return
    except (OSError, TimeoutError) as error:
        yield Finding("error", "volume", f"{path}: its directories cannot be read: {error}")
        return
    yield Finding("ok", "volume", f"{path}: UUID {uuid}")
    try:
        within(ANSWER_S, lambda: import_module("tierfs.fs.trust").require_trusted(settings))
    except VolumeRefused as error:
        yield Finding("error", "volume", str(error))
    yield from _answered("flash", settings.flash, directory_findings)
    yield from _answered("disk", settings.disk, directory_findings)
    yield from _answered("index", settings.index, index_findings)
    if settings.flash.stat().st_dev == settings.disk.stat().st_dev:
        yield Finding(
            "warning",
            "volume",
            f"{path}: both directories are on one filesystem, so nothing becomes faster",
            "put 'flash' on a flash device",
        )


def _answered(
    what: str, path: Path, look: Callable[[str, Path], Iterator[Finding]]
) -> list[Finding]:
    """What ``look`` finds of a directory or file, whose device may fail or hang."""
    subject = f"{what}, {path}"
    try:
        return within(ANSWER_S, lambda: [*look(subject, path)])
    except VolumeRefused as error:
        return [Finding("error", subject, str(error))]
    except (OSError, TimeoutError) as error:
        return [Finding("error", subject, str(error), "look at its device: dmesg, smartctl")]


def directory_findings(subject: str, directory: Path) -> Iterator[Finding]:
    """The filesystem of a tier's directory: its kind, its device, its room, what it can do."""
    mount = mount_above(Path(os.path.realpath(directory)))
    kind = mount.fstype if mount else "unknown"
    if kind in NETWORK:
        yield Finding(
            "warning",
            subject,
            f"is on {kind}: what a sync promises there depends on the server",
            "prefer a local filesystem: XFS or ext4",
        )
    elif kind in CUTS_POWER_SAFELY:
        yield Finding("ok", subject, kind)
    else:
        yield Finding("note", subject, f"is on {kind}; power cuts are tried on ext4 and XFS only")
    yield from room(subject, os.statvfs(directory))
    if subject.startswith("flash"):
        yield from _device(subject, directory)
    else:
        yield _reflinks(subject, directory)


def room(subject: str, found: os.statvfs_result) -> Iterator[Finding]:
    """How much room there is, in bytes and inodes."""
    if found.f_flag & os.ST_RDONLY:
        yield Finding(
            "warning", subject, "is read-only: so will be every mount", "mount -o remount,rw"
        )
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    level: Level = "warning" if free < NEARLY_FULL * size else "ok"
    remedy = "free some, or grow the filesystem" if level == "warning" else ""
    yield Finding(level, subject, f"{format_size(free)} of {format_size(size)} free", remedy)
    if found.f_files and found.f_favail < NEARLY_FULL * found.f_files:
        yield Finding(
            "warning",
            subject,
            f"{found.f_favail:,} of {found.f_files:,} inodes free",
            "a new file takes one on each tier: make the filesystem with more (mkfs.ext4 -i 4096)",
        )


def _device(subject: str, directory: Path) -> Iterator[Finding]:
    device = directory.stat().st_dev
    block = BLOCK / f"{os.major(device)}:{os.minor(device)}"
    queue = next((one / "queue" for one in (block, block / "..") if (one / "queue").is_dir()), None)
    if queue is None:
        return  # no block device: btrfs, tmpfs, a network
    if (queue / "rotational").read_text().strip() == "1":
        yield Finding(
            "warning",
            subject,
            "the kernel says that its device rotates: heads on it are no faster than on disk",
            "put 'flash' on a flash device; where a controller or a virtual disk says it wrongly: "
            f"echo 0 > {queue.resolve() / 'rotational'}",
        )


def _reflinks(subject: str, directory: Path) -> Finding:
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    try:
        source, target = os.open(directory, flags, 0o600), os.open(directory, flags, 0o600)
    except OSError:
        return Finding("note", subject, "cannot be tried for reflinks (no O_TMPFILE)")
    try:
        os.pwrite(source, bytes(4096), 0)
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return Finding(
            "note",
            subject,
            "has no reflinks: cp within a mount and tierfs export copy the bytes",
            "XFS and btrfs have them",
        )
    finally:
        os.close(source)
        os.close(target)
    return Finding("ok", subject, "has reflinks")


def index_findings(subject: str, index: Path) -> Iterator[Finding]:
    """The index's file: on which kind of filesystem, and its size beside the room there."""
    mount = mount_above(Path(os.path.realpath(index.parent)))
    if mount is not None and mount.fstype in NETWORK:
        yield Finding(
            "error",
            subject,
            f"is on {mount.fstype}: SQLite's log needs a local filesystem (sqlite.org/wal.html)",
            "let 'index' in the volume file name a place on a local flash device",
        )
        return
    import_module("tierfs.metadata.index").require_database(index, writable=False)
    size = index.stat().st_size
    found = os.statvfs(index.parent)
    free = found.f_bavail * found.f_frsize
    if free < size // 10:
        yield Finding(
            "warning",
            subject,
            f"has {format_size(size)}, and only {format_size(free)} are free beside it",
            "free some: the index grows with every file",
        )
    else:
        yield Finding("ok", subject, format_size(size))
