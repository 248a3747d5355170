"""What ``tierfs policy explain`` is answered by a mount: its own policy, on what it knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from tierfs.common.units import SECOND
from tierfs.policy.evaluate import explanation_record, prefix_record
from tierfs.tiering.explain import Explained
from tierfs.tiering.target import on_flash

Explain: TypeAlias = Callable[[Sequence[int]], Iterable[Explained] | None]
"""Of the inodes; None: the mount has no policy."""


def explain_files(explain: Explain, inos: list[int]) -> dict[str, Any]:
    """A record for each file, by its inode number as text; files that are gone have none."""
    found = explain(inos)
    if found is None:
        return {"files": None}
    return {"files": {str(one.inode.ino): _record(one) for one in found}}


def _record(one: Explained) -> dict[str, Any]:
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
