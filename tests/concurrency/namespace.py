"""A few names and what each call does to them, alone: the checker's idea of a filesystem. Pure.

Not link(2): Linux looks its source up first and makes the new name later, so that it takes effect
at two moments; test_one_wins_each_race has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.concurrency.history import Event

Names = frozenset[tuple[str, int]]
"""Each name with the number of its inode; a directory has the number DIRECTORY."""

DIRECTORY = -1


def initial(folders: tuple[str, ...]) -> Names:
    """Empty directories."""
    return frozenset((folder, DIRECTORY) for folder in folders)


def step(names: Names, event: Event) -> Names | None:
    """The names after the call, or None if it cannot have had its outcome."""
    table = dict(names)
    expected = CALLS[event.call](table, *event.args)
    if expected is ANY_NUMBER and isinstance(event.outcome, int):
        table[event.args[0]] = event.outcome
        return frozenset(table.items())
    return frozenset(table.items()) if expected == event.outcome else None


Table = dict[str, int]
Outcome = int | str | None
ANY_NUMBER = "any number"
"""A new file: its number is the filesystem's choice."""


def _missing_folder(table: Table, *paths: str) -> bool:
    folders = [path.rpartition("/")[0] for path in paths]
    return any(folder and folder not in table for folder in folders)


def _create(table: Table, name: str) -> Outcome:
    if _missing_folder(table, name):
        return "ENOENT"
    return "EEXIST" if name in table else ANY_NUMBER


def _look(table: Table, name: str) -> Outcome:
    return table.get(name, "ENOENT")


def _unlink(table: Table, name: str) -> Outcome:
    return "ENOENT" if table.pop(name, None) is None else None


def _rename(table: Table, source: str, target: str) -> Outcome:
    if source not in table or _missing_folder(table, target):
        return "ENOENT"
    table[target] = table.pop(source)
    return None


def _noreplace(table: Table, source: str, target: str) -> Outcome:
    if source not in table or _missing_folder(table, target):
        return "ENOENT"
    return "EEXIST" if target in table else _rename(table, source, target)


def _exchange(table: Table, source: str, target: str) -> Outcome:
    if source not in table or target not in table:
        return "ENOENT"
    table[source], table[target] = table[target], table[source]
    return None


def _mkdir(table: Table, name: str) -> Outcome:
    if name in table:
        return "EEXIST"
    table[name] = DIRECTORY
    return None


def _rmdir(table: Table, name: str) -> Outcome:
    if name not in table:
        return "ENOENT"
    if any(path.startswith(f"{name}/") for path in table):
        return "ENOTEMPTY"
    del table[name]
    return None


CALLS: Mapping[str, Callable[..., Outcome]] = {
    "create": _create,
    "look": _look,
    "unlink": _unlink,
    "rename": _rename,
    "noreplace": _noreplace,
    "exchange": _exchange,
    "mkdir": _mkdir,
    "rmdir": _rmdir,
}
