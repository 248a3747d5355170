"""Orders that are announced while they are gone through."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from tierfs.training.connection import Connection

T = TypeVar("T")

SOCKETS = Path("/run/tierfs")
"""Where daemons listen. Only root's read ahead."""

PIECE: Final = 128
"""Files that are taken from the order at a time."""


class AnnouncedSampler:
    """A sampler of ``torch.utils.data`` whose order is announced while it is gone through.

    ``sampler`` yields indices, as RandomSampler and DistributedSampler do (not batches of them:
    wrap the sampler that a BatchSampler takes). ``paths`` is what file an index means: a sequence,
    or a function. All else is the sampler's own, such as ``len`` and ``set_epoch``.

    ``job`` and ``rank`` say in ``tierfs training status`` whose order it is; by default they come
    from Slurm's or PyTorch's environment variables. With ``wait`` an index is given out when its
    file has been read ahead, or the daemon is of no help.
    """

    def __init__(
        self,
        sampler: Iterable[int],
        paths: Sequence[str] | Callable[[int], str],
        *,
        job: str | None = None,
        rank: int | None = None,
        wait: bool = True,
    ) -> None:
        self.sampler = sampler
        self._path_of = paths if callable(paths) else paths.__getitem__
        self._who = _job() if job is None else job, _rank() if rank is None else rank
        self._wait = wait

    def __iter__(self) -> Iterator[int]:
        """One epoch; a new announcement, which ends with it."""
        return _in_order(self.sampler, self._path_of, *self._who, wait=self._wait)

    def __len__(self) -> int:
        return len(cast("Sized", self.sampler))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the sampler's own
        if name == "sampler":  # before __init__, as when it is copied
            raise AttributeError(name)
        return getattr(self.sampler, name)


def announce(
    paths: Iterable[str],
    *,
    job: str | None = None,
    rank: int | None = None,
    wait: bool = True,
) -> Iterator[str]:
    """The same paths in their order, announced; see `AnnouncedSampler`.

    As many are taken ahead as the daemon allows, 4,096 at most. The announcement ends with the
    iterator.
    """
    return _in_order(
        paths,
        os.fspath,
        _job() if job is None else job,
        _rank() if rank is None else rank,
        wait=wait,
    )


def _in_order(
    items: Iterable[T], path_of: Callable[[T], str], job: str, rank: int, *, wait: bool
) -> Iterator[T]:
    source = iter(items)
    waiting: deque[T] = deque(islice(source, 1))
    if not waiting:
        return
    connection = Connection(path_of(waiting[0]), job, rank, SOCKETS)
    try:
        connection.tell([path_of(item) for item in waiting])
        ended = False
        while waiting:
            if connection.connect():  # the files that wait are new to this daemon
                connection.tell([path_of(item) for item in waiting], last=ended)
            # Not for each file that was reached: a message costs more than a path in it.
            while connection.room >= max(1, min(PIECE, connection.ahead // 2)) and not ended:
                wanted = min(PIECE, connection.room)
                more = list(islice(source, wanted))
                waiting.extend(more)
                ended = len(more) < wanted
                connection.tell([path_of(item) for item in more], last=ended)
            if wait:
                connection.wait()
            yield waiting.popleft()
            connection.reached()
            if not waiting and not ended:
                waiting.extend(islice(source, 1))
                connection.tell([path_of(item) for item in waiting])
    finally:
        connection.end()


def _job() -> str:
    """What the processes of one job have in common."""
    names = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "PBS_JOBID", "LSB_JOBID")
    return next((os.environ[name] for name in names if os.environ.get(name)), f"{os.getpgrp()}")


def _rank() -> int:
    for name in ("RANK", "SLURM_PROCID"):
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    return 0
