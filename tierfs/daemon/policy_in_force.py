"""The tier policy that a mount goes by: the last good state of its file.

Everything here is synchronous and may wait for a disk, so that a mount calls it in threads; what
is in force changes at once, as one immutable record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, Literal, NamedTuple, TypeAlias

from tierfs.common.errors import ConfigError
from tierfs.common.metrics import Metrics
from tierfs.common.times import Clock, system_clock
from tierfs.common.units import SECOND
from tierfs.daemon.apart import run_apart
from tierfs.daemon.policy_watch import Watch, look_at
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy
from tierfs.policy.volume_file import VolumeFile

log = logging.getLogger(__name__)

By: TypeAlias = Literal["mount", "save", "SIGHUP", "apply"]
"""What had the file read."""

Result: TypeAlias = Literal["applied", "unchanged", "refused"]
"""What came of it; `unchanged`: it says what was in force already."""

Apply: TypeAlias = Callable[[Policy], None]
"""Puts a policy in force: at once, in any thread, whole or (when it raises) not at all."""

READ_HERE: Final = 4096
"""Bytes of a policy that the daemon itself reads, in 20 ms; a longer one would hold up requests,
and is read by another process."""

READS_AT_MOST: Final = 5
"""How often a file is read that changes while it is read."""


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
        self._watch = Watch(look_at(path))
        self.state = State(InForce(self._read_at_rest(), clock(), "mount"), None)
        self._export("applied")

    @property
    def policy(self) -> Policy:
        """What is in force."""
        return self.state.in_force.policy

    def attach(self, apply: Apply) -> None:
        """Have ``apply`` called with what is in force now, and with each policy that follows."""
        with self._one_at_a_time:
            apply(self.policy)
            self._apply = apply

    def look(self) -> Result | None:
        """Reload the file if it was saved; None if it was not. To be called every second or so."""
        look = look_at(self.path)
        with self._one_at_a_time:
            return self._reload("save") if self._watch.is_due(look) else None

    def reload(self, by: By) -> tuple[Result, State]:
        """Read the file now; a good policy is in force when this returns."""
        with self._one_at_a_time:
            return self._reload(by), self.state

    def stop(self) -> None:
        """The mount ends: a file that is being read now is not put in force any more."""
        self._stopped = True

    def _reload(self, by: By) -> Result:
        try:
            result = self._put_in_force(self._read_at_rest(), by)
        except ConfigError as error:
            result = self._refuse(str(error), by)
        except Exception as error:
            log.exception("%s: reloading failed unexpectedly", self.path)
            result = self._refuse(f"{self.path}: cannot be put in force: {error!r}", by)
        self._export(result)
        return result

    def _read_at_rest(self) -> Policy:
        """The policy, read from end to end in one state of the file, or what is wrong with that."""
        for _ in range(READS_AT_MOST):
            seen = look_at(self.path)
            self._watch.took(seen)
            try:
                policy = self._read()
            except ConfigError:
                if look_at(self.path) == seen:
                    raise
            else:
                if look_at(self.path) == seen:
                    return policy
        raise ConfigError(f"{self.path}: changes again and again while it is read; stop writing it")

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
        # Saved again with the same mistakes: said already. Who asks for it shall read it again.
        if by != "save" or known is None or known.lines != problems.lines:
            lines = ConfigError.of_lines(problems.lines)
            log.warning("the policy is not changed (%s): the last good one holds:\n%s", by, lines)
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
        _require_outside(path, mountpoint)
        if mounted and _size(path) > READ_HERE:
            return run_apart(partial(load_policy, head=settings.head), path, idle=False)
        return load_policy(path, head=settings.head)

    mounted = False  # nobody waits for requests yet
    policy = PolicyInForce(path, read, metrics)
    mounted = True
    return policy


def _size(path: Path) -> int:
    """Bytes of the file; 0 when it is not there, which reading it then tells."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _require_outside(path: Path, mountpoint: Path) -> None:
    """A file in the mount is not there when the mount is made."""
    if Path(os.path.realpath(path)).is_relative_to(mountpoint):
        raise ConfigError(
            f"{path}: leads into the mount that it is for, {mountpoint}, which could then not be "
            "mounted again; keep it elsewhere"
        )
