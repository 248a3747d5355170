"""What ``tierfs top`` and ``tierfs profile`` have in common: asking, and adding up the answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tierfs.common.errors import NotMounted
from tierfs.daemon.control_client import Daemon

ANSWER_S: Final = 10.0
"""How long the daemon may take for an answer."""
UNKNOWN: Final = "unknown"
"""A process that is not visible here, or a directory that is gone."""

CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    "lookup": ("lookup",),
    "attributes": ("getattr", "statx", "getxattr", "listxattr", "readlink", "statfs", "lseek"),
    "list": ("readdir",),
    "read": ("read",),
    "write": ("write", "fallocate", "copy_file_range"),
    "change": (
        *("create", "mknod", "mkdir", "symlink", "link", "unlink", "rmdir", "rename", "tmpfile"),
        *("setattr", "setxattr", "removexattr"),
    ),
    "sync": ("fsync", "fsyncdir"),
}
"""Requests of which programs wait for the reply, by what they do. OPEN, FORGET and the like are in
none."""

Record = dict[str, Any]


class Watcher:
    """Watches a mount until it is no longer asked."""

    def __init__(self, mounted: Path) -> None:
        """``mounted``: the mountpoint or the volume file.

        Raises:
            NotMounted: no daemon serves it.
        """
        self._mounted = mounted
        self._daemon = Daemon(mounted)
        self._name = ""
        self.interrupted = False
        """The daemon has forgotten what it watched for us: it was restarted, or we were stopped."""

    def ask(
        self, *, rows: bool = False, files: bool = False, session: int = 0, end: bool = False
    ) -> Record:
        """See `tierfs.daemon.watching.Watching.watch`.

        Raises:
            NotMounted: no daemon answers, or too many watch.
        """
        try:
            answer = self._daemon.ask(
                "watch",
                seconds=ANSWER_S if not files else 60 * ANSWER_S,
                watcher=self._name,
                rows=rows,
                files=files,
                session=session,
                end=end,
            )
        except NotMounted:
            self._daemon = Daemon(self._mounted)  # or say better what is wrong
            raise
        self.interrupted |= bool(self._name) and answer["watcher"] != self._name
        self._name = answer["watcher"]
        return answer

    def close(self) -> None:
        """Leave room for other watchers; without an answer the daemon forgets this one anyway."""
        with suppress(NotMounted):
            self.ask(end=True)


def summed(rows: Iterable[Record], key: Callable[[Record], Any]) -> dict[Any, Record]:
    """The rows of an answer added up by ``key``, those that waited longest first.

    ``by_tier`` in each sum says how the time was divided, in seconds.
    """
    sums: defaultdict[Any, Record] = defaultdict(
        lambda: {"requests": 0, "bytes": 0, "waited": 0.0, "by_tier": defaultdict(float)}
    )
    for row in rows:
        one = sums[key(row)]
        for field in ("requests", "bytes", "waited"):
            one[field] += row[field]
        one["by_tier"][row["tier"]] += row["waited"]
    return dict(sorted(sums.items(), key=lambda item: -item[1]["waited"]))


def by_process(answer: Record) -> list[Record]:
    """The sums of each name of processes; ``processes`` are their numbers."""
    known = answer["processes"]

    def name_of(row: Record) -> str:
        return known.get(str(row["process"]), {}).get("name") or UNKNOWN

    members: defaultdict[str, set[int]] = defaultdict(set)
    for row in answer["rows"]:
        members[name_of(row)].add(row["process"])
    return [
        {
            "name": name,
            "processes": sorted(members[name] - {0}),
            "threads": max(1, sum(known[str(one)]["threads"] for one in members[name] if one)),
            **sums,
        }
        for name, sums in summed(answer["rows"], name_of).items()
    ]


def by_directory(answer: Record) -> list[Record]:
    """The sums of each directory."""
    found = summed(answer["rows"], lambda row: row["directory"] or UNKNOWN)
    return [{"directory": path, **sums} for path, sums in found.items()]


def quantile(buckets: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """The seconds in which ``share`` of the requests had their reply; None: there were none.

    ``bounds`` of the buckets, but for the last; between two it is interpolated, as Prometheus does.
    """
    left = share * sum(buckets)
    if not left:
        return None
    lower = 0.0
    for count, upper in zip(buckets, (*bounds, bounds[-1]), strict=True):
        if left <= count:
            return lower + (upper - lower) * left / count
        left -= count
        lower = upper
    return lower


def since(before: Record, after: Record) -> Record:
    """What happened between two answers: rates a second, latencies in seconds."""
    seconds = after["at"] - before["at"]
    old, new = before["counters"], after["counters"]
    operations = {
        name: _less(one, old["operations"].get(name)) for name, one in new["operations"].items()
    }
    requests = sum(one["requests"] for one in operations.values())
    python = None if new["to_python"] is None else new["to_python"] - old["to_python"]
    tiers = {
        tier: {
            what: (new[what].get(tier, 0) - old[what].get(tier, 0)) / seconds
            for what in ("read_bytes", "written_bytes")
        }
        for tier in ("flash", "disk")
    }
    read = sum(one["read_bytes"] for one in tiers.values())
    return {
        "seconds": seconds,
        "requests": requests / seconds,
        "answered_from_cache": None if python is None else _share(requests - python, requests),
        "read_from_flash": _share(tiers["flash"]["read_bytes"], read),
        "classes": {
            name: _class(
                [operations[one] for one in members if one in operations],
                new["latency_bounds"],
                seconds,
            )
            for name, members in CLASSES.items()
        },
        "operations": {name: one["requests"] / seconds for name, one in operations.items()},
        "tiers": tiers,
        "moves": {
            **after["moves"],
            "copied_bytes": (new["moved_bytes"] - old["moved_bytes"]) / seconds,
        },
    }


def _less(new: Record, old: Record | None) -> Record:
    if old is None:
        return new
    before = old["buckets"] or [0] * len(new["buckets"])
    return {
        "requests": new["requests"] - old["requests"],
        "buckets": [more - less for more, less in zip(new["buckets"], before, strict=True)],
    }


def _class(operations: list[Record], bounds: list[float], seconds: float) -> Record:
    counts = [one["buckets"] for one in operations if one["buckets"]]
    buckets = [sum(column) for column in zip(*counts, strict=True)]
    return {
        "requests": sum(one["requests"] for one in operations) / seconds,
        "p50": quantile(buckets, bounds, 0.5),
        "p99": quantile(buckets, bounds, 0.99),
    }


def _share(part: float, whole: float) -> float | None:
    return max(0.0, part / whole) if whole else None
