"""Where one file is and what is wished of it, as its virtual attributes say."""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from tierfs.base.by_hand import (
    FOR_EVER,
    MIRRORED,
    PIN,
    PINNED_BY,
    PREFIX,
    REQUESTED,
    WAITS,
    YES,
    parse_pinned_by,
    parse_prefix,
    parse_waits,
)

_FOREIGN: Final = frozenset({errno.EOPNOTSUPP, errno.ENODATA})
_REASONS: Final = {
    errno.EPERM: "only its owner and root may do that",
    errno.EROFS: "the mount is read-only",
    errno.EBUSY: "it is pinned, so it stays on flash whole; tierfs unpin ends that",
}


class Place(NamedTuple):
    """One regular file; sizes in bytes."""

    size: int
    prefix: int
    """How many of its bytes are on flash, if it has as many."""
    pin: str | None
    """``1``: for ever, else when it ends; None: it has no pin of its own."""
    mirrored: bool
    """Whether the disk holds what is on flash as well."""
    requested: int | None
    """The prefix that was asked for and is not reached yet."""
    waits: str | None = None
    """Why it is not where it belongs; None: it is."""
    stuck: bool = False
    """Whether waiting alone helps nothing."""
    pin_above: str | None = None
    """The pin of the nearest directory above that has one, likewise."""
    pinned_by: str | None = None
    """The path of that directory from the root of the mount."""

    @property
    def flash(self) -> int:
        """Bytes that are read from flash."""
        return min(self.size, self.prefix)

    @property
    def disk(self) -> int:
        """Bytes that are read from disk."""
        return self.size - self.flash

    @property
    def location(self) -> str:
        """``flash``, ``disk`` or ``split``, as ``tierfs.location`` says it."""
        if self.prefix == 0:
            return "disk"
        return "split" if self.disk else "flash"

    @property
    def is_pinned(self) -> bool:
        """Whether it has a pin, or a directory above."""
        return self.pin is not None or self.pin_above is not None

    @property
    def pinned_until(self) -> str | None:
        """When its pin, or else that of the directory, ends; None: never, or there is none."""
        pin = self.pin_above if self.pin is None else self.pin
        return None if pin == FOR_EVER.decode() else pin


def place_of(path: bytes) -> Place:
    """Look at a file; the request first, since the prefix is changed before the request ends.

    Raises:
        OSError: it cannot be looked at; ``reason`` tells people why.
    """
    requested = _value(path, REQUESTED)
    above = _value(path, PINNED_BY)
    pin_above, pinned_by = (None, None) if above is None else parse_pinned_by(above)
    waits, stuck = parse_waits(_value(path, WAITS) or b"")
    return Place(
        size=os.lstat(path).st_size,
        prefix=parse_prefix(os.getxattr(path, PREFIX, follow_symlinks=False)),
        pin=None if (pin := _value(path, PIN)) is None else pin.decode(),
        mirrored=_value(path, MIRRORED) == YES,
        requested=None if requested is None else parse_prefix(requested),
        waits=waits or None,
        stuck=stuck,
        pin_above=pin_above,
        pinned_by=pinned_by,
    )


def put(path: bytes, name: str, value: bytes) -> None:
    """Set an attribute; raises OSError."""
    os.setxattr(path, name, value, follow_symlinks=False)


def remove(path: bytes, name: str) -> bool:
    """Remove an attribute; False: the file does not have it. Raises OSError."""
    try:
        os.removexattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return False
        raise
    return True


def reason(error: OSError) -> str:
    """Why a file could not be looked at or changed."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def is_foreign(error: OSError) -> bool:
    """Whether the file is in no tierfs mount."""
    return error.errno in _FOREIGN


def _value(path: bytes, name: str) -> bytes | None:
    """An attribute that a file may lack, and that an older daemon may not know."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
