"""A program that changes a directory without end, and keeps a journal of what it was told.

``python -m tests.powercut.writer ROOT JOURNAL MODEL SEED PROFILE [WITHOUT...]``: MODEL is a pickled
``Model`` of what is there; WITHOUT are kinds of operations to leave out. It ends by itself after
some errors, and is killed otherwise.
"""

from __future__ import annotations

import errno
import pickle
import random
import sys
from collections.abc import Collection
from pathlib import Path

from tests.powercut.journal import Entry, Journal
from tests.powercut.model import Model
from tests.powercut.operations import RANGES, Operation, perform

HEAD = 64 * 1024
FILES = 14
"""Files of one writer, about."""

UNSYNCED = 8
"""States of a file since its last sync at most: each is kept as a whole."""

ERRORS = 6
"""After so many errors it ends: each is a file of which less is known."""

PROFILES: dict[str, dict[str, int]] = {
    "mixed": {
        "create": 5,
        "write": 10,
        "synchronous": 2,
        "mapped": 2,
        "append": 10,
        "truncate": 5,
        "empty": 2,
        "punch": 4,
        "zero": 2,
        "allocate": 2,
        "copy": 4,
        "nameless": 2,
        "rewrite": 4,
        "replace": 5,
        "rename": 3,
        "link": 2,
        "unlink": 3,
        "again": 2,
        "setxattr": 4,
        "removexattr": 1,
        "chmod": 2,
        "utime": 3,
        "mkdir": 2,
        "rmdir": 1,
        "fsync": 16,
        "fsyncdir": 6,
    },
    "ranges": {
        "create": 4,
        "write": 6,
        "mapped": 4,
        "append": 4,
        "truncate": 4,
        "empty": 2,
        "punch": 10,
        "zero": 10,
        "allocate": 4,
        "copy": 20,
        "rewrite": 4,
        "replace": 4,
        "rename": 3,
        "link": 3,
        "unlink": 3,
        "fsync": 14,
        "fsyncdir": 3,
    },
    "appends": {"create": 2, "append": 60, "truncate": 5, "empty": 1, "fsync": 1, "unlink": 1},
    "logs": {"create": 1, "append": 20, "truncate": 3, "empty": 1, "fsync": 14, "fsyncdir": 1},
    "names": {"mkdir": 10, "create": 3, "rename": 3, "unlink": 2, "fsyncdir": 12, "fsync": 3},
}
"""How often each is chosen."""


class Chooser:
    """Chooses the next operations by what the model says is there."""

    def __init__(
        self, model: Model, seed: int, profile: str, without: Collection[str] = ()
    ) -> None:
        self._model = model
        self._chance = random.Random(seed)
        likely = {kind: often for kind, often in PROFILES[profile].items() if kind not in without}
        self._kinds, self._weights = zip(*likely.items(), strict=True)
        self._named = 0
        self._prefix = f"{seed % 10**6}"

    def choose(self) -> list[Operation]:
        """One operation, or some that belong together."""
        paths = self._model.paths()
        kind = self._chance.choices(self._kinds, self._weights)[0]
        if kind == "mkdir":
            path = self._new()
            return [Operation("mkdir", path), *self._maybe_sync_names(path, 0.5)]
        if kind == "fsyncdir":
            return [Operation("fsyncdir", self._chance.choice((".", "a", "b")))]
        if kind == "rmdir":
            folders = [path for path in self._model.folders() if path not in {"a", "b"}]
            return [Operation("rmdir", self._chance.choice(folders))] if folders else []
        if len(paths) < 3 or (kind in {"create", "nameless"} and len(paths) < FILES):
            return [self._create(self._new(), "nameless" if kind == "nameless" else "create")]
        if kind in {"create", "nameless", "link"} and len(paths) >= FILES:
            kind = "unlink"
        return self._on_file(kind, self._chance.choice(paths), paths)

    def _on_file(self, kind: str, path: str, paths: list[str]) -> list[Operation]:
        file = self._model.file(path)
        if len(file.contents) > UNSYNCED:
            return [Operation("fsync", path)]
        match kind:
            case "write" | "append" | "truncate" | "empty" | "rewrite":
                return self._bytes(kind, path, len(file.content))
            case "synchronous" | "mapped" | "punch" | "zero" | "allocate":
                return self._within(kind, path, len(file.content))
            case "copy":
                return self._copy(path, self._chance.choice(paths))
            case "replace":
                return self._replace(path)
            case "rename" | "link":
                other = self._new()
                if kind == "rename" and self._chance.random() < 0.3:
                    other = self._chance.choice(paths)
                made = Operation(kind, path, other)
                return (
                    [] if self._same(path, other) else [made, *self._maybe_sync_names(other, 0.4)]
                )
            case "unlink" | "again":
                return self._unlink(path, again=kind == "again")
        return self._attributes(kind, path)

    def _unlink(self, path: str, *, again: bool) -> list[Operation]:
        after = [self._create(path)] if again else self._maybe_sync_names(path, 0.3)
        return [Operation("unlink", path), *after]

    def _same(self, path: str, other: str) -> bool:
        """Whether both name one file: a rename between them does nothing."""
        return self._model.now(path) == self._model.now(other)

    def _bytes(self, kind: str, path: str, size: int) -> list[Operation]:
        chance = self._chance
        match kind:
            case "write":
                near = chance.choice((size, HEAD, HEAD, size // 2, 0))
                offset = max(0, near + chance.choice((0, -1, 1, -4096, 5000)))
                made = Operation("write", path, "", offset, self._length(), self._seed())
            case "append":
                length = self._length() if size < 3 * HEAD else chance.randrange(1, 100)
                made = Operation("append", path, "", 0, length, self._seed())
            case "truncate":
                where = (10, 0, size // 2, size - 1, HEAD, HEAD - 1, HEAD + 1, size + 10_000)
                made = Operation("truncate", path, length=max(0, chance.choice(where)))
            case "empty":
                made = Operation("truncate", path)
            case _:
                made = Operation("rewrite", path, "", 0, self._length(), self._seed())
        synced = [Operation("fsync", path)] if chance.random() < 0.3 else []
        return [made, *synced]

    def _within(self, kind: str, path: str, size: int) -> list[Operation]:
        """A change of some bytes, or of some blocks, near an edge."""
        if kind in RANGES:
            near = self._chance.choice((0, HEAD - 4096, HEAD, size // 2, size))
            offset = max(0, near + self._chance.choice((0, -5000, 100)))
            length = self._chance.choice((1, 4096, 9000, HEAD))
            return [Operation(kind, path, "", offset, length)]
        if not size:
            return []
        offset = min(self._chance.choice((HEAD - 50, 0, size // 2)), size - 1)
        length = min(self._chance.randrange(1, 9000), size - offset)
        return [Operation(kind, path, "", offset, length, self._seed())]

    def _copy(self, path: str, source: str) -> list[Operation]:
        """A part of another file, to the same place of this one or elsewhere."""
        size, there = len(self._model.file(source).content), len(self._model.file(path).content)
        if self._same(path, source) or not size:
            return []
        start = self._chance.choice((0, 0, HEAD, size // 2 & ~4095, size // 3))
        start = min(start, size - 1)
        to = self._chance.choice((start, 0, there, HEAD))
        length = min(self._chance.choice((4096, 2 * HEAD, size)), size - start)
        return [Operation("copy", path, source, to, length, start)]

    def _attributes(self, kind: str, path: str) -> list[Operation]:
        sync = Operation("fsync", path)
        match kind:
            case "setxattr":
                size = self._chance.randrange(1, 300)
                return [Operation("setxattr", path, "", 0, size, self._seed()), sync]
            case "removexattr":
                there = self._model.file(path).labels[-1] is not None
                return [Operation("removexattr", path)] if there else []
            case "chmod":
                return [Operation("chmod", path, length=self._chance.choice((0o600, 0o644, 0o755)))]
            case "utime":
                when = self._chance.randrange(10**18, 2 * 10**18)
                return [Operation("utime", path, offset=when), sync]
        return [sync]

    def _replace(self, path: str) -> list[Operation]:
        """As editors and package managers save a file; or as careless programs do."""
        temporary = self._new(os_folder(path))
        made = self._create(temporary)
        careful = [Operation("fsync", temporary)] if self._chance.random() < 0.7 else []
        rename = Operation("rename", temporary, path)
        return [made, *careful, rename, *self._maybe_sync_names(path, 0.5)]

    def _maybe_sync_names(self, path: str, likely: float) -> list[Operation]:
        if self._chance.random() > likely:
            return []
        return [Operation("fsyncdir", os_folder(path) or ".")]

    def _create(self, path: str, kind: str = "create") -> Operation:
        return Operation(kind, path, "", 0, self._length(), self._seed())

    def _new(self, folder: str | None = None) -> str:
        if folder is None:
            folder = self._chance.choice(("", "a", "b"))
        self._named += 1
        return f"{folder}/{self._prefix}-{self._named}".strip("/")

    def _length(self) -> int:
        chance = self._chance
        near_head = HEAD + chance.choice((-1, 0, 1, -5000, 5000))
        return chance.choice(
            (chance.randrange(1, 200), chance.randrange(1, 20_000), near_head, 2 * HEAD + 11)
        )

    def _seed(self) -> int:
        return self._chance.randrange(2**32)


def os_folder(path: str) -> str:
    """The directory of a relative path, "" for the top."""
    return path.rpartition("/")[0]


def write(root: Path, path: Path, model: Model, chooser: Chooser) -> None:
    """Do operations below ``root`` until too many have failed."""
    journal = Journal(path)
    errors = 0
    while errors < ERRORS:
        for operation in chooser.choose():
            done, result = True, 0
            journal.begin(operation)
            try:
                result = perform(root, operation)
            except OSError as exc:
                done, result = False, exc.errno or errno.EIO
                errors += 1
            journal.end(done=done, result=result)
            model.take(Entry(operation, done, result))
            if not done:
                break
    journal.close()


def main() -> None:
    """Write until there is nothing left to do."""
    root, journal, state, seed, profile, *without = sys.argv[1:]
    with Path(state).open("rb") as file:
        model = pickle.load(file)  # noqa: S301
    write(Path(root), Path(journal), model, Chooser(model, int(seed), profile, without))


if __name__ == "__main__":
    main()
