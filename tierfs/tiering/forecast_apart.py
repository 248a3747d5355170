"""The forecast of `tierfs policy plan` in a process of its own, beside the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tierfs.base.priority import Patience, die_with_parent
from tierfs.index.folded import FoldedIndex
from tierfs.index.folds import FoldsSeen
from tierfs.policy.tier_policy import Policy
from tierfs.tiering.context import Moment
from tierfs.tiering.forecast import BLOCK, Forecast, Gathered, Part, gather, total
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_snapshot import load
from tierfs.tiering.judge import Judge

MOST_PROCESSES: Final = 4
"""So many go through the index at most: idle cores are taken, not all of a large machine."""


@dataclass(frozen=True, slots=True)
class Question:
    """All that a forecast goes by, for another process."""

    index: Path
    policy: Policy | None
    heat: bytes
    """`tierfs.tiering.heat_snapshot.save`."""
    heat_capacity: int
    moment: Moment


def answer(question: Question, folds: int) -> Forecast:
    """The forecast; ``folds`` is the descriptor that `Index.fold` returned.

    Raises:
        FsError: the index could not be read.
    """
    with ExitStack() as stack:
        seen = stack.enter_context(closing(FoldsSeen(folds)))
        index = stack.enter_context(closing(FoldedIndex(question.index, seen)))
        blocks = index.steadily(index.last_inode) // BLOCK + 1
        count = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, blocks)
        look = partial(_gathered, question, folds)
        parts: Iterable[Gathered]
        if count == 1:
            parts = [look(Part(0, 1))]
        else:
            pool = ProcessPoolExecutor(count, get_context("fork"), die_with_parent)
            parts = stack.enter_context(pool).map(look, [Part(one, count) for one in range(count)])
        return total(index, question.moment, parts, steadily=index.steadily)


def _gathered(question: Question, folds: int, part: Part) -> Gathered:
    """In a process of its own, or not; connections to SQLite do not survive a fork."""
    heat = Heat(question.heat_capacity)
    load(heat, question.heat)
    with ExitStack() as stack:
        seen = stack.enter_context(closing(FoldsSeen(folds)))
        index = stack.enter_context(closing(FoldedIndex(question.index, seen)))
        judge = Judge(index, heat, question.policy)
        patience = Patience()

        def look() -> bool:
            patience.ends()
            return False

        return gather(
            index, judge, heat, question.moment, part, steadily=index.steadily, ended=look
        )
