"""The tier policy of a mount: the last good state of its file, its reloads, and what it answers.

Everything here is synchronous and may wait for a disk, so a mount calls it in threads. What is in
force changes at once, as one immutable record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from tierfs.common.errors import ConfigError
from tierfs.common.metrics import Metrics
from tierfs.common.priority import LOW
from tierfs.common.times import Clock, system_clock
from tierfs.common.units import SECOND
from tierfs.daemon.workers import run_in_worker
from tierfs.policy.model import Policy, explanation_record, prefix_record
from tierfs.policy.tier_policy import load_policy
from tierfs.policy.volume_file import VolumeFile
from tierfs.tiering.engine import Explained
from tierfs.tiering.model import on_flash

log = logging.getLogger(__name__)

By: TypeAlias = Literal["mount", "save", "SIGHUP", "apply"]
"""The event that made the mount read the file."""

Result: TypeAlias = Literal["applied", "unchanged", "refused"]
"""The outcome; `unchanged`: this policy was in force already."""

Apply: TypeAlias = Callable[[Policy], None]
"""Puts a policy in force: at once, in any thread, whole or (when it raises) not at all."""

READ_HERE: Final = 4096
"""Bytes of a policy that the daemon itself reads, in 20 ms; a longer one would delay requests, and
is read by a worker process."""

MAX_READS: Final = 5
"""How often a file is read that changes while it is being read."""


class InForce(NamedTuple):
    """A policy, since when (nanoseconds since the epoch), and by what."""

    policy: Policy
    since: int
    by: By


class Problems(NamedTuple):
    """What is wrong with the file now, a line each, and since when it is wrong at all."""

    lines: tuple[str, ...]
    since: int


class State(NamedTuple):
    """What is in force, and why the file is not; None when it is."""

    in_force: InForce
    problems: Problems | None


class PolicyInForce:
    """One mount's policy; every method may be called in any thread."""

    def __init__(
        self,
        path: Path,
        read: Callable[[], Policy],
        metrics: Metrics,
        clock: Clock = system_clock,
    ) -> None:
        """Read the policy file ``path`` with ``read``, which raises ConfigError for a bad one.

        Raises:
            ConfigError: what ``read`` raised.
        """
        self.path = path
        self._read = read
        self._metrics = metrics
        self._clock = clock
        self._apply: Apply | None = None
        self._one_at_a_time = Lock()
        self._stopped = False
        self._watch = Watch(stat_file(path))
        self.state = State(InForce(self._read_stable(), clock(), "mount"), None)
        self._export("applied")

    @property
    def policy(self) -> Policy:
        """What is in force."""
        return self.state.in_force.policy

    def attach(self, apply: Apply) -> None:
        """Call ``apply`` with the policy in force, and later with each that replaces it."""
        with self._one_at_a_time:
            apply(self.policy)
            self._apply = apply

    def poll(self) -> Result | None:
        """Reload the file if it was saved; None if it was not. To be called every second or so."""
        seen = stat_file(self.path)
        with self._one_at_a_time:
            return self._reload("save") if self._watch.is_due(seen) else None

    def reload(self, by: By) -> tuple[Result, State]:
        """Read the file now; a good policy is in force when this returns."""
        with self._one_at_a_time:
            return self._reload(by), self.state

    def stop(self) -> None:
        """At the end of the mount: a policy that is being read is not put in force."""
        self._stopped = True

    def _reload(self, by: By) -> Result:
        try:
            result = self._put_in_force(self._read_stable(), by)
        except ConfigError as error:
            result = self._refuse(str(error), by)
        except Exception as error:
            log.exception("%s: reloading failed unexpectedly", self.path)
            result = self._refuse(f"{self.path}: cannot be put in force: {error!r}", by)
        self._export(result)
        return result

    def _read_stable(self) -> Policy:
        """The policy, read while the file did not change.

        Raises:
            ConfigError: the policy is wrong, or the file changes all the time.
        """
        for _ in range(MAX_READS):
            seen = stat_file(self.path)
            self._watch.was_read(seen)
            try:
                policy = self._read()
            except ConfigError:
                if stat_file(self.path) == seen:
                    raise
            else:
                if stat_file(self.path) == seen:
                    return policy
        raise ConfigError(
            f"{self.path}: changes again and again while it is being read; stop writing it"
        )

    def _put_in_force(self, policy: Policy, by: By) -> Result:
        before = self.state.in_force
        if self._stopped:
            return "unchanged"
        if policy == before.policy:
            self.state = State(before, None)
            log.info("%s: read again (%s); nothing changes", self.path, by)
            return "unchanged"
        if self._apply is not None:
            self._apply(policy)
        self.state = State(InForce(policy, self._clock(), by), None)
        log.info("%s: in force (%s), with %d rules", self.path, by, len(policy.rules))
        return "applied"

    def _refuse(self, why: str, by: By) -> Result:
        in_force, known = self.state
        problems = Problems(tuple(why.splitlines()), known.since if known else self._clock())
        # Saved again with the same mistakes: logged already, unless somebody asked for a reload.
        if by != "save" or known is None or known.lines != problems.lines:
            lines = ConfigError.of_lines(problems.lines)
            log.warning(
                "the policy is not changed (%s): the last good one stays in force:\n%s", by, lines
            )
        self.state = State(in_force, problems)
        return "refused"

    def _export(self, result: Result) -> None:
        in_force, problems = self.state
        self._metrics.policy_loads.labels(result).inc()
        self._metrics.policy_valid.set(problems is None)
        self._metrics.policy_loaded_timestamp_seconds.set(in_force.since / SECOND)


def policy_in_force(
    settings: VolumeFile, mountpoint: Path, metrics: Metrics
) -> PolicyInForce | None:
    """The policy that the volume file names; None when it names none.

    Raises:
        ConfigError: it cannot be read, or is wrong; the message has a line for every mistake.
    """
    path = settings.policy
    if path is None:
        metrics.policy_valid.set(1)
        return None

    def read() -> Policy:
        if Path(os.path.realpath(path)).is_relative_to(mountpoint):
            raise ConfigError(
                f"{path}: is inside the mount that it is for, {mountpoint}, which could then not "
                "be mounted again; keep it elsewhere"
            )
        if mounted and _size(path) > READ_HERE:
            return run_in_worker(partial(load_policy, head=settings.head), path, nice=LOW)
        return load_policy(path, head=settings.head)

    mounted = False  # there are no requests to delay yet
    policy = PolicyInForce(path, read, metrics)
    mounted = True
    return policy


def _size(path: Path) -> int:
    """Bytes of the file; 0 if it is missing: reading it then fails with a message."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


# ------------------------------------------------------------------ changes of the file

# Polled, without inotify(7): that sees neither changes by other machines on a network filesystem,
# nor which of several symbolic links on the way was replaced, as Kubernetes does for a ConfigMap.


class Stamp(NamedTuple):
    """What differs between two states of a file; times in nanoseconds.

    With the time of the last change of attributes, since a file may become readable, or be replaced
    by one with the same size and modification time.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int


Seen: TypeAlias = Stamp | int
"""The state of a file, or the errno of stat(2)."""


def stat_file(path: Path) -> Seen:
    """The state of the file that ``path`` leads to, symbolic links followed."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno or 0
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Watch:
    """Compares the states of one file with that in which it was read last."""

    def __init__(self, read: Seen) -> None:
        self._read = read
        self._last = read

    def is_due(self, seen: Seen) -> bool:
        """Whether the file differs from the one read, and has not changed since the last call.

        The second: an editor that truncates and writes, or removes and renames, may not be done.
        """
        unchanged = seen == self._last
        self._last = seen
        return unchanged and seen != self._read

    def was_read(self, seen: Seen) -> None:
        """The file was read in this state, with whatever result."""
        self._read = self._last = seen


# ------------------------------------------------------------------ answers of the control socket

LINES_SHOWN: Final = 10
"""Lines of problems in a status; the log has all."""


def apply_policy(policy: PolicyInForce | None) -> dict[str, Any]:
    """The answer to ``tierfs policy apply``, once the policy is in force."""
    if policy is None:
        return {"policy": None}
    result, state = policy.reload("apply")
    lines = state.problems.lines if state.problems else ()
    return {"result": result, "problems": list(lines), "policy": policy_status(policy, state)}


def policy_status(policy: PolicyInForce, state: State | None = None) -> dict[str, Any]:
    """A record for JSON; times in seconds since the epoch."""
    in_force, problems = state or policy.state
    return {
        "path": str(policy.path),
        "since": in_force.since / SECOND,
        "by": in_force.by,
        "rules": len(in_force.policy.rules),
        "problems": None
        if problems is None
        else {
            "since": problems.since / SECOND,
            "count": len(problems.lines),
            "lines": list(problems.lines[:LINES_SHOWN]),
        },
    }


Explain: TypeAlias = Callable[[Sequence[int]], Iterable[Explained] | None]
"""Called with inode numbers; None: the mount has no policy."""


def explain_files(explain: Explain, inos: list[int]) -> dict[str, Any]:
    """The answer to ``tierfs policy explain``: a record by inode number; none for deleted files."""
    found = explain(inos)
    if found is None:
        return {"files": None}
    return {"files": {str(one.inode.ino): _explanation(one) for one in found}}


def _explanation(one: Explained) -> dict[str, Any]:
    row, target, warmth = one.inode, one.target, one.warmth
    return {
        **explanation_record(one.explanation),
        "reads": None if warmth is None else round(warmth.reads, 2),
        "last_read": None if one.last_read is None else one.last_read / SECOND,
        "on_flash": on_flash(row),
        "size": row.size,
        "mirrored": bool(row.mirrored),
        "wanted": prefix_record(target.prefix),
        "why": target.reason,
        "pinned": target.pinned,
        "pinned_by": None if one.pinned_by is None else os.fsdecode(one.pinned_by),
        "waits": one.waiting and one.waiting.reason,
        "stuck": one.waiting is not None and one.waiting.stuck,
    }
