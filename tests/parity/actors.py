"""Who makes a call: users, groups, and processes with chosen capabilities."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntEnum
from typing import NamedTuple

from tests.parity.harness import Place

OWNER = 11001
GROUP = 12000
"""The owner and the group of what the cases make."""


class Actor(NamedTuple):
    """A user, its group and its supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


OTHER = Actor(11004, 11004, (11999,))

ACTORS = {
    "root": Actor(0, 0),
    "owner": Actor(OWNER, OWNER),
    "owner_in_group": Actor(OWNER, GROUP),
    "primary": Actor(11002, GROUP),
    "member": Actor(11003, 11003, (11999, GROUP)),
    "other": OTHER,
}
"""Everybody that a file of OWNER:GROUP tells apart."""

WHO = tuple(ACTORS)


class Capability(IntEnum):
    """Numbers of ``linux/capability.h``."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    SYS_ADMIN = 21
    SYS_RESOURCE = 24
    MKNOD = 27
    SETFCAP = 31


def as_actor(place: Place, who: str, function: Callable[..., object], *args: object) -> object:
    """Call as one of ACTORS; the result, or the errno's name."""
    actor = ACTORS[who]
    return place.as_user(actor.uid, actor.gid, actor.groups, function, *args)


def with_capabilities(
    place: Place,
    capabilities: Collection[Capability],
    function: Callable[..., object],
    *args: object,
    actor: Actor = OTHER,
) -> object:
    """Call as somebody whose effective capabilities are these only."""
    return place.as_user(
        actor.uid, actor.gid, actor.groups, function, *args, capabilities=capabilities
    )
