"""``make demo``: what tierfs is for, shown and checked on this machine in about a minute.

A simulated 7200 rpm disk holds files of this machine; another one is the disk of a tierfs volume,
whose flash is memory. The same files are copied into the volume, every byte and attribute is
compared, and files are read for the first time from the disk alone and through tierfs. All is in
temporary directories, and gone in the end, also after Ctrl-C.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

from tests.benchmarks.machine import drop_kernel_caches
from tests.benchmarks.stage import run, stage
from tierfs.cli.command import DIRECTORY
from tierfs.common.errors import DamageFound, ExitCode, TierfsError, printable
from tierfs.common.units import KIB, MIB, format_size
from tierfs.daemon.interpreter import module_command

HEAD: Final = 64 * KIB  # of each file, on flash by default
MOST_FILES, MOST_BYTES, FEWEST_BYTES = 4000, 128 * MIB, 8 * MIB
PARTS_OF_FREE: Final = 5  # they lie there twice; the rest is for the machine
SAMPLES: Final = 200
FIRST, SMALL, LARGE = "first 64 KiB of a file", "all of a small file", "all of a larger file"
LEFT_OUT: Final = {"site-packages", "dist-packages", "__pycache__"}  # they change meanwhile
FACTS: Final = ("mode", "uid", "gid", "rdev", "mtime_ns")

Advance = Callable[[int], None]
console = Console(highlight=False)


@contextmanager
def step(title: str, total: int | None = None) -> Iterator[Advance]:
    """Say what begins, with a bar on a terminal; yields what to call with how much was done."""
    began = time.monotonic()
    columns, shown = (TextColumn("{task.description}"), BarColumn()), console.is_terminal
    if not shown:
        console.print(f"{title} ...")
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.advance(task, done)
    console.print(f"{title}: {time.monotonic() - began:.1f} s")


def gather(target: Path, most: int, advance: Advance) -> int:
    """Copy up to ``most`` bytes of this machine's files to ``target``; returns how many they are.

    They are Python's library and /usr/share, entry by entry, and a few files that copies get wrong.
    """
    files = size = 0
    for name, root in (("python", sysconfig.get_path("stdlib")), ("share", "/usr/share")):
        (target / name).mkdir(parents=True)
        for entry in sorted(set(os.listdir(root)) - LEFT_OUT):
            paths = [Path(root, entry), *Path(root, entry).rglob("*")]
            more = sum(path.lstat().st_size for path in paths)
            fits = files + len(paths) <= MOST_FILES and size + more <= most
            if fits and all(os.access(path, os.R_OK) for path in paths if not path.is_symlink()):
                copy(Path(root, entry), target / name)
                files, size = files + len(paths), size + more
                advance(len(paths))
    make_oddities(target / "odd")
    return files


def make_oddities(home: Path) -> None:
    """Names, links, holes, times and attributes that copies and filesystems get wrong."""
    home.mkdir()
    for name in (b"not UTF-8: \xff\xfe", b"-rf", b"new\nline", b"x" * 255, "é\u0301".encode()):
        (home / os.fsdecode(name)).write_bytes(name)
    (home / "dangling").symlink_to("no//where")
    (home / "twin").write_bytes(b"twins" * HEAD)
    (home / "other twin").hardlink_to(home / "twin")
    os.mkfifo(home / "fifo", 0o640)
    with (home / "sparse").open("wb") as file:
        file.seek(3 * MIB)
        file.write(b"behind a hole")
    (home / "twin").chmod(0o4711)
    os.utime(home / "sparse", ns=(0, -1_500_000_000))
    with suppress(OSError):  # tmpfs keeps them from Linux 6.6 on
        os.setxattr(home / "twin", "user.binary", bytes(range(256)))
        os.setxattr(home, "user.empty", b"")


def copy(source: Path, target: Path) -> None:
    run(["cp", "-a", "--target-directory", str(target), "--", str(source)])


def differences(source: Path, target: Path, advance: Advance) -> Iterator[str]:
    """What in the tree ``target`` is not as in ``source``, one line each."""
    twins: dict[int, int] = {}
    for directory, _, _ in os.walk(source):
        copied = target / Path(directory).relative_to(source)
        names = sorted(os.listdir(directory))
        if names != sorted(os.listdir(copied)):
            yield f"{printable(copied)} lists other names"
        for name in ("", *names):
            try:
                for what in unlike(Path(directory, name), copied / name, twins):
                    yield f"{printable(copied / name)} has {what}"
            except OSError as error:
                yield f"{printable(copied / name)} cannot be read: {error.strerror}"
            advance(1)


def unlike(ours: Path, theirs: Path, twins: dict[int, int]) -> Iterator[str]:
    """In what one path is not like its copy; ``twins``: the inode of each inode's copy."""
    one, other = os.lstat(ours), os.lstat(theirs)
    facts = FACTS if stat.S_ISDIR(one.st_mode) else (*FACTS, "size", "nlink")
    for fact in facts:
        if getattr(one, f"st_{fact}") != getattr(other, f"st_{fact}"):
            yield f"another {fact}"
    if twins.setdefault(one.st_ino, other.st_ino) != other.st_ino:
        yield "lost its hard link"
    if xattrs(ours) != xattrs(theirs):
        yield "other extended attributes"
    if stat.S_ISLNK(one.st_mode) and os.readlink(ours) != os.readlink(theirs):
        yield "another target"
    if stat.S_ISREG(one.st_mode):
        with ours.open("rb", buffering=0) as left, theirs.open("rb", buffering=0) as right:
            while data := left.read(MIB):
                if data != right.read(len(data)):
                    yield f"other bytes before offset {left.tell()}"
                    return


def xattrs(path: Path) -> dict[str, bytes]:
    names = set(os.listxattr(path, follow_symlinks=False)) - {"security.selinux"}  # by its place
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def sample(source: Path) -> list[Path]:
    """Files in random order, half of them longer than a head, relative to ``source``."""
    chance = random.Random(0)
    files = [p for p in sorted(source.rglob("*")) if p.is_file() and not p.is_symlink()]
    chance.shuffle(files)
    small = [path for path in files if 0 < path.stat().st_size <= HEAD]
    large = [path for path in files if HEAD < path.stat().st_size <= MIB]
    chosen = [*small[: SAMPLES // 2], *large[: SAMPLES // 2]]
    return [path.relative_to(source) for path in chance.sample(chosen, len(chosen))]


def first_reads(root: Path, paths: Sequence[Path], advance: Advance) -> dict[str, float]:
    """Milliseconds from open(2) to the first bytes, and to the end of files: medians."""
    waits: dict[str, list[float]] = {FIRST: [], SMALL: [], LARGE: []}
    for path in paths:
        began = time.perf_counter()
        with (root / path).open("rb", buffering=0) as file:
            size = len(file.read(HEAD))
            waits[FIRST].append(time.perf_counter() - began)
            while more := len(file.read(MIB)):
                size += more
        waits[SMALL if size <= HEAD else LARGE].append(time.perf_counter() - began)
        advance(1)
    return {name: 1e3 * statistics.median(some) for name, some in waits.items() if some}


def demonstrate(place: Path) -> None:
    """Do all of it in ``place``. Raises DamageFound for a difference, TierfsError, OSError."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        hint = "in a container: --device /dev/fuse --cap-add SYS_ADMIN; else as root: modprobe fuse"
        raise TierfsError(f"/dev/fuse is missing or not yours; {hint}")
    if os.geteuid() != 0 and not shutil.which("fusermount3"):
        raise TierfsError("only root can mount without fusermount3: apt-get install fuse3")
    most = min(MOST_BYTES, shutil.disk_usage(place).free // PARTS_OF_FREE)
    if most < FEWEST_BYTES:
        raise TierfsError(f"{place} has too little room: name another directory with --dir")
    with stage() as made:
        home = made.directory(place)
        original = home / "plain" / "backing" / "files"
        with step("Gathering files of this machine", MOST_FILES) as advance:
            files = gather(original, most, advance)
        with step("Mounting two simulated disks, and a volume with flash in memory"):
            alone, below = made.drive(home / "plain"), made.drive(home / "below")
            volume = made.volume(home, "tierfs", module_command("tierfs"), disk=below.path)
        copied = volume.directory / "files"
        with step(f"Copying {files:,} files into the volume with cp -a"):
            copy(original, volume.directory)
        paths, measured = sample(original), []
        for name, root in (("the disk alone", alone.path / "files"), ("tierfs", copied)):
            with step(f"Reading {len(paths)} of them from {name}", len(paths)) as advance:
                for mount in (volume.directory, alone.path, below.path):
                    drop_kernel_caches(mount)
                measured.append(first_reads(root, paths, advance))
        with step("Comparing every byte, name and attribute", files) as advance:
            found = list(differences(original, copied, advance))
        flash, disk = used(home / "tierfs.volume/flash"), used(home / "below/backing")
        console.print("Unmounting, and deleting all that was made.")
    if found:
        raise DamageFound.of_lines(["the copy differs from its source:", *found[:20]])
    show(measured[0], measured[1], f"{flash} are on flash, {disk} on the disk.")
    if os.geteuid() != 0:
        console.print("Not as root: names may have stayed in the kernel's caches.")


def used(directory: Path) -> str:
    return format_size(sum(path.lstat().st_blocks for path in directory.rglob("*")) * 512)


def show(disk: dict[str, float], tierfs: dict[str, float], placed: str) -> None:
    """The last screen: what was gained."""
    console.print("\nEvery byte and attribute is equal. [bold]What the first read of a file costs:")
    numbers = [Column(name, justify="right") for name in ("disk alone", "through tierfs")]
    table = Table("milliseconds, median", *numbers, "", box=box.SIMPLE_HEAD)
    for name, wait in disk.items():
        gain = wait / tierfs[name]
        said = f"[bold]{gain:.0f} times sooner[/]" if gain >= 2 else f"{gain:.1f} times as fast"
        table.add_row(name, f"{wait:.2f}", f"{tierfs[name]:.2f}", said)
    console.print(table)
    console.print(
        "tierfs keeps the first 64 KiB of every file, and so all of most files, on\n"
        f"flash, and the rest on the disk: {placed}\n"
        "The disk is simulated (7200 rpm, 8.5 ms an average seek); flash is memory.\n"
        "Your own volume: tierfs init, tierfs mount; see docs/tutorial/first-mount.md"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dir", "place", type=DIRECTORY, default="/dev/shm", show_default=True)  # noqa: S108
def main(place: Path) -> None:
    """Copy this machine's files into a volume in --dir, compare them, show what tierfs gains."""
    try:
        demonstrate(place)
    except (TierfsError, OSError) as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, TierfsError) else ExitCode.UNEXPECTED)
    except KeyboardInterrupt:
        click.echo("demo: interrupted; everything was unmounted and deleted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
