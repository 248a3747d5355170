"""Compare a whole tree with its copy, by several reader processes at once."""

from __future__ import annotations

import multiprocessing
import signal
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Self

from tierfs.base.errors import TierfsError
from tierfs.base.text import printable
from tierfs.demo.compare import Identity, Names, Pair, compare_batch, compare_listings
from tierfs.demo.findings import Difference, Findings, Kind
from tierfs.demo.trees import Tree
from tierfs.demo.ui import Advance

BATCH_BYTES = 8 * 1024 * 1024
BATCH_NAMES = 256
Answer = tuple[Findings, list[Names]]


class Readers:
    """A pool of ``count`` reader processes; a context manager that ends them."""

    def __init__(self, count: int) -> None:
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_leave_interrupts_to_the_parent,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def verify(self, tree: Tree, target: Path, since_ns: int, advance: Advance) -> Findings:
        """Compare ``tree`` with its copy in ``target``, every byte and attribute.

        ``since_ns`` is when the copy began: what changed in the source later is set aside.
        Raises TierfsError when a reader process dies.
        """
        pair = Pair(tree.root, target, since_ns)
        findings, names = Findings(), []
        for size, (found, linked) in self._answers(pair, tree):
            findings.add(found)
            names += linked
            advance(size)
        findings.differences += top_differences(tree, target)
        findings.differences += compare_hard_links(names)
        findings.differences.sort(key=lambda difference: (difference.path, difference.kind))
        return findings

    def _answers(self, pair: Pair, tree: Tree) -> Iterator[tuple[int, Answer]]:
        sizes: dict[Future[Answer], int] = {}
        try:
            for size, paths in batches(tree):
                sizes[self._pool.submit(compare_batch, pair, paths)] = size
            for future in as_completed(sizes):
                yield sizes[future], future.result()
        except BrokenProcessPool as exc:
            raise TierfsError("a reader process died while it compared files; try again") from exc
        finally:
            for future in sizes:
                future.cancel()


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of the terminal; only the parent cleans up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def batches(tree: Tree) -> Iterator[tuple[int, list[Path]]]:
    """The paths of ``tree`` in portions for one reader, each with its number of bytes."""
    size, paths = 0, []
    for path, status in tree.walk():
        paths.append(path)
        size += status.st_size if stat.S_ISREG(status.st_mode) else 0
        if size >= BATCH_BYTES or len(paths) >= BATCH_NAMES:
            yield size, paths
            size, paths = 0, []
    if paths:
        yield size, paths


def top_differences(tree: Tree, target: Path) -> Iterable[Difference]:
    """Compare the listing of the top directory, which is no path of the tree itself."""
    try:
        return list(compare_listings(Path(), tree.entries, target))
    except OSError as exc:
        return [Difference(Path(), Kind.UNREADABLE, exc.strerror or str(exc))]


def compare_hard_links(names: Iterable[Names]) -> list[Difference]:
    """Paths that are one file in the source must be one file in the copy, and no others.

    The copy's link count must be the number of these paths, too.
    """
    ours: defaultdict[Identity, set[Path]] = defaultdict(set)
    theirs: defaultdict[Identity, set[Path]] = defaultdict(set)
    known = list(names)
    for name in known:
        ours[name.source].add(name.path)
        theirs[name.target].add(name.path)
    differences = [_judge(name, ours[name.source], theirs[name.target]) for name in known]
    return [difference for difference in differences if difference]


def _judge(name: Names, ours: set[Path], theirs: set[Path]) -> Difference | None:
    if ours != theirs:
        others = ", ".join(printable(path) for path in sorted(ours ^ theirs)[:3])
        detail = f"in one of source and copy it is one file with {others}, in the other not"
        return Difference(name.path, Kind.LINK_GROUP, detail)
    if name.target_links != len(theirs):
        detail = f"link count {name.target_links}, but it has {len(theirs)} names"
        return Difference(name.path, Kind.LINK_GROUP, detail)
    return None
