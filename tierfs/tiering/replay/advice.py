"""Which changes of a tier policy would have spared the readers of an access log waiting for disk.

A search by replay: each change is made in the text of the policy, which is played over a sample of
the log, as `tierfs.tiering.replay.simulator` does; the best is kept, and the others are tried upon
it. Changes are the size of the head, the watermarks, and pins of directories.

The sample is one of files, not of lines: a file is in it with all of its uses or with none, as its
inode number hashes below a threshold, and flash and the mover's rate are scaled by the same share
(SHARDS: Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST '15). So hit rates stay
what they are on the whole log, but for chance, and a log of any length is searched in minutes.
"""

from __future__ import annotations

import math
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tierfs.common.errors import ConfigError
from tierfs.common.units import KIB, MIB, format_size
from tierfs.policy.edit import append_rule, insert_rule, set_in_rule, set_key
from tierfs.policy.model import Mark, Policy
from tierfs.policy.tier_policy import parse_policy
from tierfs.tiering.access_log import FileFacts, Gone, Line, Use
from tierfs.tiering.head_sizes import rule_name
from tierfs.tiering.replay.flash import Answered, Ledger
from tierfs.tiering.replay.simulator import SimulatedFlash
from tierfs.tiering.watermarks import levels_of

HEADS: Final = (16 * KIB, 32 * KIB, *(KIB << shift for shift in range(6, 13)))
"""16KiB to 4MiB."""

WATERMARKS: Final = ((80, 70), (85, 75), (90, 80), (95, 90))
"""High and low, in percent. Nearer to full, bursts of new files would go to disk."""

RULE: Final = "rule"
"""The kind of `head_rule`."""

PINS: Final = 6
"""Directories that are tried, those with most waiting."""

SAME: Final = 0.95
"""A directory with so much of its parent's waiting is tried in its place."""

WORTH: Final = 0.005
"""A change is proposed when it spares so much of what readers would wait for the disk alone."""

SAMPLE: Final = 30_000
"""Lines of a sample, at most: a replay takes some seconds."""

FEW: Final = 5_000
"""Lines for which processes of their own do not pay."""

_HASH_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class Disk:
    """What a read from disk costs: ``latency`` until its first byte (s), ``rate`` (bytes/s)."""

    latency: float
    rate: int

    def waiting(self, reads: int, size: int) -> float:
        """Seconds that readers wait for ``reads`` reads, of ``size`` bytes together."""
        return reads * self.latency + size / self.rate

    def waited(self, ledger: Ledger) -> float:
        """Seconds that readers waited for disk."""
        return self.waiting(ledger.reads - ledger.hits, ledger.bytes_read - ledger.bytes_hit)


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy as it is written in the file ``path``, and the ``head`` of its volume (bytes)."""

    path: Path
    text: str
    head: int

    def parsed(self) -> Policy:
        """The policy.

        Raises:
            ConfigError: it is wrong.
        """
        return parse_policy(self.path, self.text, head=self.head)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a policy: its ``title`` for people, and what it makes of the text."""

    kind: str
    title: str
    edit: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Changes with the share of all waiting that each spares, in order, and the changed policy."""

    changes: tuple[tuple[Change, float], ...]
    policy: PolicyText
    tried: int
    share: float
    """The part of the files in the log that the search went by."""


class Sample:
    """A part of a log's files, with all their lines."""

    def __init__(self, lines: Iterable[Line], most: int = SAMPLE) -> None:
        self._threshold = 1 << _HASH_BITS
        self.lines: list[Line] = []
        for line in lines:
            if self._has(line):
                self.lines.append(line)
                while len(self.lines) > most and self._threshold > 1:
                    self._threshold //= 2
                    self.lines = list(filter(self._has, self.lines))

    @property
    def share(self) -> float:
        """The part of all files that is in it."""
        return self._threshold / (1 << _HASH_BITS)

    def _has(self, line: Line) -> bool:
        return isinstance(line, Use | FileFacts | Gone) and _hash(line.ino) < self._threshold


def _hash(ino: int) -> int:
    """Bits that tell nothing of the order in which inodes were made (splitmix64's finaliser)."""
    value = (ino * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return value >> (64 - _HASH_BITS)


def propose(
    lines: Iterable[Line],
    policy: PolicyText,
    flash: int,
    disk: Disk,
    progress: Callable[[int, int], None],
    others: Sequence[Change] = (),
) -> Proposal:
    """The changes of ``policy`` that are worth it, on ``flash`` bytes of flash.

    ``others`` are tried as well, each beside all that is of another kind or a pin or rule.
    ``progress`` is called with the number of replays done and the number that may come.

    Raises:
        ConfigError: the policy is wrong.
    """
    sample = Sample(lines)
    _share_sample(sample.lines, flash, sample.share, disk)
    base, waits = _play_noting(policy, sample, flash, disk)
    cost = disk.waited(base)
    worth = WORTH * disk.waiting(base.reads, base.bytes_read)
    changes = [*others, *_changes(policy, waits, flash, sample.share)]
    chosen: list[tuple[Change, float]] = []
    done = 0
    with _replays(len(sample.lines)) as replay:
        while changes and cost:
            total = done + len(changes)
            costs = []
            for one in replay(_cost, [_edited(policy, change) for change in changes]):
                costs.append(one)
                done += 1
                progress(done, total)
            best = min(range(len(costs)), key=costs.__getitem__)
            if cost - costs[best] < worth:
                break
            change = changes[best]
            chosen.append((change, (cost - costs[best]) / disk.waited(base)))
            policy = _edited(policy, change)
            # What spares nothing by itself is not tried again upon another change.
            changes = [
                other
                for other, its in zip(changes, costs, strict=True)
                if its < cost
                and other is not change
                and (other.kind in {"pin", RULE} or other.kind != change.kind)
            ]
            cost = costs[best]
    return Proposal(tuple(chosen), policy, done, sample.share)


@contextmanager
def _replays(lines: int) -> Iterator[Callable[..., Iterator[float]]]:
    """`map`, on all processors where it pays."""
    if lines < FEW:
        yield map
        return
    # By fork the sample is there already; the children take no lock of the caller's threads.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        yield pool.map


def _edited(policy: PolicyText, change: Change) -> PolicyText:
    return replace(policy, text=change.edit(policy.text))


# ------------------------------------------------------------------ what is tried


def _changes(
    written: PolicyText, waits: dict[bytes, tuple[float, int]], flash: int, share: float
) -> Iterable[Change]:
    policy = written.parsed()
    for size in HEADS:
        if size != policy.defaults.head:
            yield _head(format_size(size))
    yield _head("all")
    in_force = policy.flash.high_watermark, policy.flash.low_watermark
    for high, low in WATERMARKS:
        if (Mark(percent=high), Mark(percent=low)) != in_force:
            yield _watermarks(high, low)
    room = levels_of(policy.flash, flash).room(0)
    fitting = {name: one for name, one in waits.items() if one[1] / share <= room}
    most = sorted(_narrowest(fitting), key=lambda name: -waits[name][0])[:PINS]
    names = {rule.name for rule in policy.rules}
    for name in most:
        yield _pin(name, round(waits[name][1] / share), names)


def head_rule(extension: str, head: int) -> Change:
    """A rule for all files with an extension to which no other applies; ``head`` in bytes."""
    name = rule_name(extension)
    size = f"{head // MIB}MiB" if head % MIB == 0 else f"{head // KIB}KiB"
    rule = {"name": name, "match": f'{{path: "/**/*{extension}"}}', "head": size}

    def edit(text: str) -> str:
        changed = set_in_rule(text, "rules", name, "head", size)
        return append_rule(text, "rules", rule) if changed is None else changed

    return Change(RULE, f"head: {size} for {extension}", edit)


def _head(size: str) -> Change:
    return Change("head", f"head: {size}", lambda text: set_key(text, ("head",), size))


def _watermarks(high: int, low: int) -> Change:
    def edit(text: str) -> str:
        text = set_key(text, ("flash", "low_watermark"), f"{low}%")
        return set_key(text, ("flash", "high_watermark"), f"{high}%")

    return Change("watermarks", f"watermarks: {high}% and {low}%", edit)


def _pin(directory: bytes, size: int, names: set[str]) -> Change:
    path = directory.decode()
    plain = "".join(one if one.isascii() and one.isalnum() else "-" for one in path).strip("-")
    stem = f"pin-{plain}"[:56].rstrip("-")
    name = next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, 1000))) if one not in names)
    names.add(name)
    pattern = "".join(f"\\{one}" if one in "\\*?[]{},!" else one for one in path) + "/**"
    quoted = pattern.replace("\\", "\\\\").replace('"', '\\"')
    rule = {"name": name, "match": f'{{path: "{quoted}"}}', "head": "all", "pin": "true"}
    title = f"pin {path} ({format_size(size)})"
    return Change("pin", title, lambda text: insert_rule(text, "rules", rule))


def _narrowest(waits: dict[bytes, tuple[float, int]]) -> Iterable[bytes]:
    """Directories, except for those nearly all of whose waiting is that of one below them."""
    most_below: dict[bytes, float] = defaultdict(float)
    for name, (seconds, _size) in waits.items():
        parent = name.rpartition(b"/")[0]
        most_below[parent] = max(most_below[parent], seconds)
    for name, (seconds, _size) in waits.items():
        if seconds and most_below.get(name, 0.0) < SAME * seconds and _writable(name):
            yield name


def _writable(name: bytes) -> bool:
    try:
        return name.decode().isprintable()
    except UnicodeDecodeError:
        return False


# ------------------------------------------------------------------ replays of a sample

_shared: tuple[Sequence[Line], int, float, Disk] = ((), 0, 1.0, Disk(0.0, 1))


def _share_sample(lines: Sequence[Line], flash: int, share: float, disk: Disk) -> None:
    global _shared  # noqa: PLW0603 - what a process of the pool plays, given once
    _shared = lines, flash, share, disk


def _cost(policy: PolicyText) -> float:
    """Seconds that readers of the sample would have waited for disk; infinite: it contradicts."""
    lines, flash, share, disk = _shared
    try:
        parsed = policy.parsed()
    except ConfigError:  # such as a head that a promotion of another rule does not reach
        return math.inf
    played = SimulatedFlash(_scaled(parsed, share), round(flash * share))
    for line in lines:
        played.play(line)
    return disk.waited(played.end())


def _play_noting(
    policy: PolicyText, sample: Sample, flash: int, disk: Disk
) -> tuple[Ledger, dict[bytes, tuple[float, int]]]:
    """What was counted; for each directory the seconds waited for what is below, and its bytes."""
    files: dict[int, FileFacts] = {}
    seconds: dict[int, float] = defaultdict(float)

    def note(use: Use, answered: Answered) -> None:
        missed = use.reads - answered.reads, use.size - answered.size
        seconds[use.ino] += disk.waiting(*missed)

    played = SimulatedFlash(
        _scaled(policy.parsed(), sample.share), round(flash * sample.share), note=note
    )
    for line in sample.lines:
        if isinstance(line, FileFacts) and line.paths:
            files[line.ino] = line
        played.play(line)
    directories: dict[bytes, tuple[float, int]] = {}
    for ino, facts in files.items():
        above = facts.paths[0].rpartition(b"/")[0]
        while above:
            waited, size = directories.get(above, (0.0, 0))
            directories[above] = waited + seconds.get(ino, 0.0), size + facts.size
            above = above.rpartition(b"/")[0]
    return played.end(), directories


def _scaled(policy: Policy, share: float) -> Policy:
    """The policy for a flash, and files, of a ``share`` of theirs."""

    def part(size: int | None) -> int | None:
        return None if size is None else max(1, round(size * share))

    def mark(one: Mark) -> Mark:
        return replace(one, size=part(one.size))

    flash, mover = policy.flash, policy.mover
    return replace(
        policy,
        flash=replace(
            flash,
            high_watermark=mark(flash.high_watermark),
            low_watermark=mark(flash.low_watermark),
            reserve=round(flash.reserve * share),
            capacity=part(flash.capacity),
        ),
        mover=replace(mover, rate=part(mover.rate), operations=part(mover.operations)),
    )
