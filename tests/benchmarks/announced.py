"""Epochs in an announced order: ``python -m tests.benchmarks.announced``.

Images of 100 to 400 KiB on a simulated disk, of which flash (memory) has the heads, a quarter.
Workers read them in a random order, as PyTorch's DataLoader has them do: a main process goes
through the order and gives out batches, two for each worker at a time. Daemon, workers and the
cache of the disk are in one control group for memory, which is smaller than the data. For
comparison one reader reads the same windows from a bare simulated disk, sorted by address, at the
same queue depth.

``--in-memory``: many small files, both tiers in memory, and the processor time of each process for
a file. What a worker takes for one that is in the page cache is the least that an announced epoch
takes: so far could the rate rise if it cost nothing to announce and to read ahead.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import linear_regression, median
from typing import Final

import click

from tests.benchmarks.datasets import File, Mixed, images
from tests.benchmarks.machine import drop_kernel_caches, warm_memory
from tests.benchmarks.processes import daemons_of, processor_seconds
from tests.benchmarks.scenario import Side
from tests.benchmarks.stage import Drive, Stage, stage
from tests.benchmarks.waiting import HEAD, decode
from tierfs.announcements.service import DEPTH
from tierfs.cli.command import DIRECTORY
from tierfs.common.errors import ExitCode, TierfsError
from tierfs.common.units import KIB, MIB
from tierfs.daemon.interpreter import module_command
from tierfs.training import AnnouncedSampler, announce

BATCH: Final = 32
PREFETCH: Final = 2
SIZES: Final = (100 * KIB, 400 * KIB)
SMALL: Final = (32 * KIB, 32 * KIB)
STARTS_S: Final = 20.0
SAMPLED_S: Final = 0.05
_FORK: Final = get_context("fork")
_GROUPS: Final = Path("/sys/fs/cgroup")

Order = Callable[[Sequence[str]], Iterable[str]]


# ------------------------------------------------------------------ a data loader


def epoch(files: Sequence[File], order: Order, workers: int) -> float:
    """Images a second of one epoch over ``files``, given out as ``order`` does.

    Raises:
        DamageFound, OSError: in a worker, whose end then ends this.
    """
    sizes = {os.fsdecode(file.path): file.size for file in files}
    pipes = [_FORK.Pipe() for _ in range(workers)]
    crew = [_FORK.Process(target=_work, args=(theirs, sizes)) for _, theirs in pipes]
    for one in crew:
        one.start()
    for _, theirs in pipes:
        theirs.close()
    began = time.monotonic()
    _give_out(iter(order(list(sizes))), [ours for ours, _ in pipes])
    seconds = time.monotonic() - began
    for (ours, _), one in zip(pipes, crew, strict=True):
        ours.send([])
        one.join()
        ours.close()
    return len(files) / seconds


def _give_out(source: Iterator[str], pipes: Sequence[Connection]) -> None:
    sent = received = 0

    def send() -> None:
        nonlocal sent
        if batch := list(islice(source, BATCH)):
            pipes[sent % len(pipes)].send(batch)
            sent += 1

    for _ in range(PREFETCH * len(pipes)):
        send()
    while received < sent:
        pipes[received % len(pipes)].recv()
        received += 1
        send()


def _work(tasks: Connection, sizes: dict[str, int]) -> None:
    while batch := tasks.recv():
        for path in batch:
            decode(File(os.fsencode(path), sizes[path]))
        tasks.send(len(batch))


class Images:
    """A map-style dataset of PyTorch: the bytes of the pixels of each image."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> int:
        return decode(self._files[index])


def pytorch_epoch(files: Sequence[File], workers: int, *, announced: bool) -> float:
    """Images a second of an epoch of PyTorch's DataLoader, in the order of ``files``.

    Raises:
        ImportError: there is no PyTorch.
    """
    data = import_module("torch.utils.data")
    order: Iterable[int] = range(len(files))
    if announced:
        order = AnnouncedSampler(order, lambda index: os.fsdecode(files[index].path))
    loader = data.DataLoader(Images(files), batch_size=BATCH, sampler=order, num_workers=workers)
    began = time.monotonic()
    seen = sum(len(batch) for batch in loader)
    assert seen == len(files)
    return len(files) / (time.monotonic() - began)


def sorted_windows(files: Sequence[File], window: int) -> float:
    """Images a second of one reader that reads windows of this size by inode number."""
    began = time.monotonic()
    with ThreadPoolExecutor(DEPTH) as pool:
        for some in _windows(files, window):
            by_address = sorted(some, key=lambda file: os.stat(file.path).st_ino)
            list(pool.map(_read, by_address))
    return len(files) / (time.monotonic() - began)


def _windows(files: Sequence[File], window: int) -> Iterator[list[File]]:
    some: list[File] = []
    size = 0
    for file in files:
        some.append(file)
        size += file.size
        if size >= window:
            yield some
            some, size = [], 0
    if some:
        yield some


def _read(file: File) -> None:
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        os.read(descriptor, file.size)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------ the machine


@contextmanager
def memory_group(limit: int, processes: Iterable[int]) -> Iterator[bool]:
    """Have these processes, and their children to come, share so much memory; False: cannot."""
    old = _GROUPS / "memory"
    root = old if old.is_dir() else _GROUPS
    group = root / f"tierfs-bench-{os.getpid()}"
    key = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
    try:
        group.mkdir()
        (group / key).write_text(str(limit))
        for member in processes:
            (group / "cgroup.procs").write_text(f"{member}")
    except OSError as error:
        click.echo(f"no control group for memory: {error}", err=True)
        with suppress(OSError):
            group.rmdir()
        yield False
        return
    try:
        yield True
    finally:
        for process in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (root / "cgroup.procs").write_text(process)
        with suppress(OSError):
            group.rmdir()


def announcing(volume: Side) -> None:
    """Wait until the daemon takes announcements."""
    device = volume.directory.stat().st_dev
    path = Path(f"/run/tierfs/training-{os.major(device)}:{os.minor(device)}.sock")
    deadline = time.monotonic() + STARTS_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TierfsError("the daemon takes no announcements")
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Bench:
    """Both sides with the data on them."""

    dataset: Mixed
    volume: Side
    plain: Side | None
    drives: Sequence[Drive]
    workers: int

    def rate(self, side: Side, order: Order, seed: int) -> float:
        """Images a second of an epoch with cold caches."""
        files = self.dataset.ordered(side, seed)
        self.chill()
        return epoch(files, order, self.workers)

    def chill(self) -> None:
        """Empty the kernel's caches."""
        for drive in self.drives:
            drive.settle()
        drop_kernel_caches(self.volume.directory)


def say(what: str, value: str) -> None:
    click.echo(f"{what:<58} {value}")


# ------------------------------------------------------------------ the two measurements


def from_a_disk(
    made: Stage, place: Path, files: int, memory: int, group: int, epochs: int, workers: int
) -> None:
    """Print the figures of a simulated disk."""
    home = made.directory(place)
    plain, below = made.drive(home / "plain"), made.drive(home / "below")
    settings = f"training: {{memory: {memory}}}\nbackup: {{enabled: false}}\n"
    program = module_command("tierfs")
    volume = made.volume(home, "tierfs", program, disk=below.path, settings=settings)
    announcing(volume)
    dataset, alone = images(files, *SIZES), Side("disk alone", plain.path)
    for side in (alone, volume):
        dataset.provide(side)
    total = sum(dataset.sizes())
    bench = Bench(dataset, volume, alone, (plain, below), workers)
    say("images, MiB in all", f"{files} {total / MIB:.0f}")
    say("window / data (two windows are in memory)", f"{memory / 2 / total:.3f}")
    with suppress(ImportError):  # before, since it is larger by itself than the group
        import_module("torch.utils.data")
    with memory_group(group, [os.getpid(), *daemons_of(volume.directory)]) as limited:
        say("memory of daemon, workers and cache / data", f"{group / total:.2f} {limited}")
        rates: dict[str, list[float]] = {}
        read: list[float] = []
        for turn in range(epochs):
            bench.chill()
            ordered = dataset.ordered(alone, turn)
            found = {
                "disk alone, windows sorted": sorted_windows(ordered, memory // 2),
                "disk alone": bench.rate(alone, iter, turn),
                "tierfs, not announced": bench.rate(volume, iter, turn),
            }
            below.counters()
            found["tierfs, announced"] = bench.rate(volume, announce, turn)
            read.append(below.counters()["read_bytes"] / MIB)
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)
        for name, some in rates.items():
            say(f"{name}, images/s", " ".join(f"{rate:.1f}" for rate in some))
        tails = sum(max(0, size - HEAD) for size in dataset.sizes()) / MIB
        say(
            "announced, MiB read from the disk / MiB of tails (1.0)",
            " ".join(f"{one / tails:.3f}" for one in read),
        )
        best = {name: sorted(some)[len(some) // 2] for name, some in rates.items()}
        announced = best["tierfs, announced"]
        say(
            "announced / disk alone, windows sorted (0.9)",
            f"{announced / best['disk alone, windows sorted']:.3f}",
        )
        say("announced / not announced", f"{announced / best['tierfs, not announced']:.3f}")
        ratios = sorted(two_jobs(bench) for _ in range(epochs))
        say("two jobs, median of the ratios (0.9 to 1.1)", f"{ratios[len(ratios) // 2]:.3f}")
        with suppress(ImportError):
            with_pytorch(bench)


def with_pytorch(bench: Bench) -> None:
    """An epoch of PyTorch's DataLoader, not announced and announced.

    Raises:
        ImportError: there is no PyTorch.
    """
    for words, announced in (("not announced", False), ("announced", True)):
        files = bench.dataset.ordered(bench.volume, 77)
        bench.chill()
        rate = pytorch_epoch(files, bench.workers, announced=announced)
        say(f"tierfs, PyTorch's DataLoader, {words}, images/s", f"{rate:.1f}")


def two_jobs(bench: Bench) -> float:
    """Two jobs at once, each over half of the data: the rate of each until the first has ended.

    Images come a window at a time, so rates are slopes over the whole time, not differences.
    """
    files = bench.dataset.ordered(bench.volume, 99)
    halves = files[::2], files[1::2]
    bench.chill()
    pipes = [_FORK.Pipe(duplex=False) for _ in halves]
    jobs = [
        _FORK.Process(target=_job, args=(half, f"job {number}", pipes[number][1]))
        for number, half in enumerate(halves)
    ]
    for job in jobs:
        job.start()
    counts = [0, 0]
    times: list[float] = []
    seen: list[tuple[int, ...]] = []
    while all(count < len(halves[0]) - BATCH for count in counts):
        for ready in wait([receiving for receiving, _ in pipes]):
            number = next(n for n, (receiving, _) in enumerate(pipes) if receiving is ready)
            counts[number] = pipes[number][0].recv()
        if all(counts) and (not times or time.monotonic() - times[-1] > SAMPLED_S):
            times.append(time.monotonic())
            seen.append(tuple(counts))
    one, other = (linear_regression(times, some).slope for some in zip(*seen, strict=True))
    for job in jobs:
        job.join()
    say("two jobs, images/s, and the ratio", f"{one:.1f} {other:.1f} {one / other:.3f}")
    return one / other


def _job(files: Sequence[File], name: str, telling: Connection) -> None:
    def counting(paths: Sequence[str]) -> Iterator[str]:
        for number, path in enumerate(announce(paths, job=name), 1):
            telling.send(number)
            yield path

    epoch(files, counting, 2)


def from_memory(made: Stage, place: Path, files: int, epochs: int, workers: int) -> None:
    """Print the figures of small files, with both tiers in memory."""
    home = made.directory(place)
    settings = "training: {memory: 1GiB}\nbackup: {enabled: false}\n"
    program = module_command("tierfs")
    volume = made.volume(home, "tierfs", program, settings=settings)
    announcing(volume)
    dataset = images(files, *SMALL)
    dataset.provide(volume)
    bench = Bench(dataset, volume, None, (), workers)
    daemon = next(iter(daemons_of(volume.directory)))
    orders: dict[str, Order] = {"not announced": iter, "announced": announce}
    rates: dict[str, list[float]] = {name: [] for name in orders}
    spent: dict[str, list[tuple[float, ...]]] = {name: [] for name in orders}
    for turn in range(epochs):
        for name, order in sorted(orders.items(), key=lambda _: random.random()):
            ordered = dataset.ordered(volume, turn)
            bench.chill()
            warm_memory()
            before = processor_times(daemon)
            rates[name].append(epoch(ordered, order, workers))
            after = processor_times(daemon)
            spent[name].append(
                tuple(1e6 * (b - a) / files for a, b in zip(before, after, strict=True))
            )
    for name in orders:
        say(f"in memory, {name}, images/s", " ".join(f"{rate:.0f}" for rate in rates[name]))
        for number, process in enumerate(("the daemon", "the job's main process", "its workers")):
            say(
                f"in memory, {name}, us of {process} a file",
                " ".join(f"{one[number]:.0f}" for one in spent[name]),
            )
    took = {name: median(map(sum, some)) for name, some in spent.items()}
    before = processor_times(daemon)
    epoch(dataset.ordered(volume, epochs - 1), iter, workers)
    cached = 1e6 * (processor_times(daemon)[2] - before[2]) / files
    say("in memory, us of workers a file in the page cache", f"{cached:.0f}")
    say(
        "in memory, not announced / that: the most there is to gain",
        f"{took['not announced'] / cached:.3f}",
    )
    say(
        "in memory, not announced / announced, processor time",
        f"{took['not announced'] / took['announced']:.3f}",
    )
    say(
        "in memory, announced / not announced, images/s",
        f"{median(rates['announced']) / median(rates['not announced']):.3f}",
    )


def processor_times(daemon: int) -> tuple[float, float, float]:
    """Seconds of a daemon, of this process, and of its children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return processor_seconds(daemon), time.process_time(), ended.ru_utime + ended.ru_stime


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dir", "place", type=DIRECTORY, default="/dev/shm", show_default=True)  # noqa: S108
@click.option("--files", default=1200, show_default=True)
@click.option("--memory", default=48, show_default=True, help="MiB for what is read ahead.")
@click.option("--group", default=224, show_default=True, help="MiB of the control group.")
@click.option("--epochs", default=3, show_default=True)
@click.option("--workers", default=4, show_default=True)
@click.option("--in-memory", is_flag=True)
def main(
    place: Path, files: int, memory: int, group: int, epochs: int, workers: int, *, in_memory: bool
) -> None:
    """Measure epochs in an announced order."""
    try:
        with stage() as made:
            if in_memory:
                from_memory(made, place, files, epochs, workers)
            else:
                from_a_disk(made, place, files, memory * MIB, group * MIB, epochs, workers)
    except (TierfsError, OSError) as error:
        click.echo(f"announced: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, TierfsError) else ExitCode.UNEXPECTED)


if __name__ == "__main__":
    main()
