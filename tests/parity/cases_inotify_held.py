"""inotify(7): the end of a file that an unread event of fanotify(7) holds.

An event of fanotify holds the path that it tells of until it has been read and the descriptor
that came with it is closed (fs/notify/fanotify/fanotify.c: `path_get`). IN_DELETE_SELF comes when
the last reference to the name goes (fs/dcache.c: `dentry_unlink_inode`), so it waits that long.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.parity.cases_inotify import watcher
from tests.parity.harness import Place, case

DELETE_SELF = 0x400
FAN_CLOEXEC, FAN_NONBLOCK, FAN_MARK_ADD = 0x1, 0x2, 0x1
FAN_OPEN, FAN_CLOSE, FAN_EVENT_ON_CHILD, FAN_ONDIR = 0x20, 0x18, 0x08000000, 0x40000000
EVENT = struct.Struct("IBBHQii")
"""struct fanotify_event_metadata; its last but one field is the descriptor."""


@contextmanager
def fanotify(place: Place) -> Iterator[Callable[[], int]]:
    """Watch what is opened and closed in the place; the function reads events, and counts them."""
    flags = FAN_CLOEXEC | FAN_NONBLOCK
    fd = place.libc.fanotify_init(flags, os.O_RDONLY)
    try:
        mask = FAN_OPEN | FAN_CLOSE | FAN_EVENT_ON_CHILD | FAN_ONDIR
        place.libc.fanotify_mark(fd, FAN_MARK_ADD, mask, -100, bytes(place.path))
        yield lambda: _read(fd)
    finally:
        os.close(fd)


def _read(fd: int) -> int:
    try:
        data = os.read(fd, 65536)
    except BlockingIOError:
        return 0
    events = list(EVENT.iter_unpack(data))
    for event in events:
        os.close(event[5])
    return len(events)


@case.each(target=["file", "directory"])
def the_end_waits_for_an_unread_event(place: Place, target: str) -> object:
    place.file("file")
    place.directory("directory")
    with fanotify(place) as read, watcher(place) as watching:
        watching.watch(target, DELETE_SELF)
        os.close(os.open(place / target, os.O_RDONLY))
        (os.rmdir if target == "directory" else os.unlink)(place / target)
        before = watching.events()
        return before, read() > 0, watching.events()
