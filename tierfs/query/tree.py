"""Trees of what holds or does not: of tests as they are written, and of those made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Not(Generic[T]):
    """What does not hold."""

    part: Tree[T]


@dataclass(frozen=True, slots=True)
class All(Generic[T]):
    """Parts that all hold."""

    parts: tuple[Tree[T], ...]


@dataclass(frozen=True, slots=True)
class Some(Generic[T]):
    """Parts of which one holds."""

    parts: tuple[Tree[T], ...]


Tree: TypeAlias = T | Not[T] | All[T] | Some[T]


def leaves(tree: Tree[T]) -> Iterator[T]:
    """What the tree is of, from left to right."""
    if isinstance(tree, Not):
        yield from leaves(tree.part)
    elif isinstance(tree, All | Some):
        for part in tree.parts:
            yield from leaves(part)
    else:
        yield tree


def replaced(tree: Tree[T], leaf: Callable[[T], Tree[U]]) -> Tree[U]:
    """The same tree of something else."""
    if isinstance(tree, Not):
        return Not(replaced(tree.part, leaf))
    if isinstance(tree, All):
        return All(tuple(replaced(part, leaf) for part in tree.parts))
    if isinstance(tree, Some):
        return Some(tuple(replaced(part, leaf) for part in tree.parts))
    return leaf(tree)
