"""What it costs to adopt a tree, beside ``cp -al`` of it: ``python -m tests.benchmarks.adopting``.

A tree of small files lies on one ext4 with the disk directories of new volumes, on a loop device in
memory; flash is in memory. In turns the tree is copied by hard links (``cp -al``), adopted into a
mount, and adopted into a volume that is not mounted (``--volume``), with warm caches, and what that
made is removed. The blocks are those of the ext4, synced; the copy of the change feed is counted
apart, since it is there until the next backup.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import click

from tests.benchmarks.machine import warm_memory
from tests.benchmarks.processes import daemons_of, processor_seconds
from tests.benchmarks.stage import Stage, run, stage
from tierfs.cli.command import DIRECTORY
from tierfs.common.errors import ExitCode, TierfsError
from tierfs.common.units import GIB, KIB
from tierfs.daemon.interpreter import module_command

IN_A_DIRECTORY: Final = 100
ROOM: Final = 4 * KIB
"""Bytes on the ext4 for each file beside its own: its inode, and its names."""


class Cost(NamedTuple):
    """Of one way to have the tree a second time; seconds, and bytes of blocks."""

    seconds: float
    processor: float
    blocks: int = 0
    feed: int = 0


def make_tree(tree: Path, files: int, size: int) -> None:
    """Files of ``size`` bytes, a hundred in a directory."""
    content = os.urandom(size)
    for number in range(files):
        if number % IN_A_DIRECTORY == 0:
            (tree / f"{number // IN_A_DIRECTORY:06}").mkdir(parents=True)
        path = tree / f"{number // IN_A_DIRECTORY:06}" / f"image-{number:07}.jpg"
        path.write_bytes(b"%d" % number + content[20:])


def used(filesystem: Path) -> int:
    """Bytes of its blocks, with everything written."""
    run(["sync", "-f", os.fspath(filesystem)])
    found = os.statvfs(filesystem)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def copied_by_links(tree: Path, below: Path) -> Cost:
    """``cp -al``."""
    target = below / "linked"
    cost = _timed(["cp", "-al", os.fspath(tree), os.fspath(target)])
    shutil.rmtree(target)
    return cost


def adopted(made: Stage, tree: Path, below: Path, home: Path, *, mounted: bool) -> Cost:
    """``tierfs adopt`` into a new volume."""
    program = module_command("tierfs")
    disk, before = below / "disk", used(below)
    volume = made.volume(home, "mnt", program, disk=disk)
    file = home / "mnt.volume" / "volume.yaml"
    if mounted:
        daemons = daemons_of(volume.directory)
        spent = -sum(map(processor_seconds, daemons))
        cost = _timed([*program, "adopt", "-q", os.fspath(tree), os.fspath(volume.directory)])
        spent += sum(map(processor_seconds, daemons))
        run([*program, "umount", os.fspath(volume.directory)])
    else:
        run([*program, "umount", os.fspath(volume.directory)])
        spent = 0.0
        cost = _timed([*program, "adopt", "-q", "--volume", os.fspath(file), os.fspath(tree)])
    grown = used(below) - before
    feed = sum(path.stat().st_blocks * 512 for path in (disk / "backup").glob("*"))
    shutil.rmtree(disk)
    shutil.rmtree(home / "mnt.volume")
    return Cost(cost.seconds, cost.processor + spent, grown - feed, feed)


def _timed(words: list[str]) -> Cost:
    warm_memory()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise TierfsError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, spent)


def compare(made: Stage, place: Path, files: int, size: int, turns: int) -> None:
    """Print the figures."""
    home = made.directory(place)
    below = made.ext4(home, GIB + 2 * files * (size + ROOM))
    tree = below / "tree"
    make_tree(tree, files, size)
    whole = used(below)
    costs: dict[str, list[Cost]] = {}
    for _ in range(turns):
        costs.setdefault("cp -al", []).append(copied_by_links(tree, below))
        for name, mounted in (("mounted", True), ("not mounted", False)):
            cost = adopted(made, tree, below, home, mounted=mounted)
            costs.setdefault(name, []).append(cost)
    for name, some in costs.items():
        said = "  ".join(f"{cost.seconds:.2f} ({cost.processor:.2f})" for cost in some)
        _say(f"{name}, s (processor)", said)
    links = costs.pop("cp -al")
    for name, some in costs.items():
        ratios = sorted(a.seconds / b.seconds for a, b in zip(some, links, strict=True))
        spent = sorted(a.processor / b.processor for a, b in zip(some, links, strict=True))
        _say(f"{name} / cp -al (at most 3)", _spread(ratios))
        _say(f"{name} / cp -al, processor time", _spread(spent))
        _say(
            f"{name}, blocks added, % (at most 1); the feed's copy",
            f"{_most(whole, [cost.blocks for cost in some])} "
            f"{_most(whole, [cost.feed for cost in some])}",
        )


def _most(whole: int, grown: list[int]) -> str:
    return f"{100 * max(grown) / whole:.2f}"


def _spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def _say(what: str, value: str) -> None:
    click.echo(f"{what:<55} {value}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dir", "place", type=DIRECTORY, default="/dev/shm", show_default=True)  # noqa: S108
@click.option("--files", default=100_000, show_default=True)
@click.option("--size", default=32, show_default=True, help="KiB of each file.")
@click.option("--turns", default=5, show_default=True)
def main(place: Path, files: int, size: int, turns: int) -> None:
    """Compare tierfs adopt with cp -al."""
    try:
        with stage() as made:
            compare(made, place, files, size * KIB, turns)
    except (TierfsError, OSError) as error:
        click.echo(f"adopting: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, TierfsError) else ExitCode.UNEXPECTED)


if __name__ == "__main__":
    main()
