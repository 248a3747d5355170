"""What renameat2(2) does in the model, in the order in which the Linux VFS checks it."""

import errno

from tests.model.driver import RenameFlags, os_error
from tests.model.nodes import Directory, Node


def rename(old: Directory, name: bytes, new: Directory, into: bytes, flags: RenameFlags) -> None:
    """Move `name` of `old`, which exists, to `into` of `new`."""
    node, victim = old.entries[name], new.entries.get(into)
    if flags & RenameFlags.NOREPLACE and victim is not None:
        raise os_error(errno.EEXIST)
    if flags & RenameFlags.EXCHANGE:
        _exchange(old, name, new, into)
        return
    _check_not_within(node, new, errno.EINVAL)
    if victim is not None:
        _check_not_within(victim, old, errno.ENOTEMPTY)
    # Two names of one inode are left alone: rename(2).
    if victim is node:
        return
    _check_replaceable(node, victim)
    old.take(name)
    new.put(into, node)
    if victim is not None:
        victim.nlink = 0 if isinstance(victim, Directory) else victim.nlink - 1


def _exchange(old: Directory, name: bytes, new: Directory, into: bytes) -> None:
    node, other = old.entries[name], new.entries.get(into)
    if other is None:
        raise os_error(errno.ENOENT)
    _check_not_within(node, new, errno.EINVAL)
    _check_not_within(other, old, errno.EINVAL)
    if node is not other:
        old.put(name, other)
        new.put(into, node)


def _check_not_within(node: Node, directory: Directory, code: int) -> None:
    """Refuse when `directory` is `node` or below it."""
    if isinstance(node, Directory) and _holds(node, directory):
        raise os_error(code)


def _holds(top: Directory, directory: Directory) -> bool:
    if top is directory:
        return True
    inner = (node for node in top.entries.values() if isinstance(node, Directory))
    return any(_holds(node, directory) for node in inner)


def _check_replaceable(node: Node, victim: Node | None) -> None:
    if victim is None:
        return
    if isinstance(node, Directory) and not isinstance(victim, Directory):
        raise os_error(errno.ENOTDIR)
    if isinstance(victim, Directory):
        if not isinstance(node, Directory):
            raise os_error(errno.EISDIR)
        if victim.entries:
            raise os_error(errno.ENOTEMPTY)
