"""The connection to the kernel: mounted, handed to pyfuse3, and ended by an unmount or not."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyfuse3

from tierfs.common.errors import MountFailed
from tierfs.daemon import device
from tierfs.daemon.adapter import Adapter
from tierfs.daemon.fast_path import FastPath
from tierfs.daemon.invalidation import Invalidation
from tierfs.daemon.mountinfo import Mount, mount_at
from tierfs.daemon.mountpoint import is_stale, place_of, unmount
from tierfs.daemon.operations import Operations

log = logging.getLogger(__name__)

FOR_LIBFUSE = frozenset({"allow_root"})
"""The only word of ``-o`` that libfuse itself must know, which does not mount here."""


class Connection:
    """One mount at ``mountpoint``; ``fast_path`` stands between the kernel and pyfuse3, if any.

    ``invalidation`` is of use without it.
    """

    def __init__(
        self, mountpoint: Path, fast_path: FastPath | None, invalidation: Invalidation
    ) -> None:
        self.mountpoint = mountpoint
        self.fast_path = fast_path
        self._invalidation = invalidation
        self._own: Mount | None = None
        self._is_up = False

    @property
    def own(self) -> Mount | None:
        """The mount as it was made; None before ``open``."""
        return self._own

    @property
    def leaves_umask_to_us(self) -> bool:
        """Whether modes come as asked for; the router agrees with the kernel on that as well."""
        return self.fast_path is not None or device.leaves_umask_to_us()

    @contextmanager
    def open(self, operations: Adapter, source: Path, words: Collection[str]) -> Iterator[None]:
        """Mount and let pyfuse3 serve ``operations``.

        When it ends with an unmount, nothing is left at the mountpoint; nor if it ends before
        ``up`` was called. When it ends otherwise, the mount stays, dead: every call gives
        ENOTCONN, where without the mount programs would write into the directory below it.

        Raises:
            MountFailed: it cannot be mounted, or not be served, or its dead mount is left.
        """
        descriptor = device.mount(self.mountpoint, source, words)
        self._own = mount_at(self.mountpoint)
        try:
            endpoint = (
                descriptor
                if self.fast_path is None
                else self._routed(descriptor, operations.operations)
            )
            with (
                _served(operations, endpoint, FOR_LIBFUSE & set(words)),
                self._invalidation.serving(),
            ):
                yield
        finally:
            if self.fast_path is not None:
                self.fast_path.stop()
            left = self._end()
        if left is not None:
            raise MountFailed(_left_dead(left))

    def up(self) -> None:
        """The mount answers: from now on programs may rely on it."""
        self._is_up = True

    def unmount(self, *, lazy: bool = False) -> None:
        """Take our mount away, wherever it is now, and no other; ``lazy``: even while in use.

        Raises:
            MountFailed: it is in use, unmounted already, or something lies over it.
        """
        unmount(self._place(), lazy=lazy)

    async def end_with_fast_path(self) -> None:
        """Let ``pyfuse3.main`` return when the router has: its own descriptor does not tell it."""
        if self.fast_path is not None:
            await self.fast_path.wait_for_end()
            pyfuse3.terminate()

    def _routed(self, descriptor: int, operations: Operations) -> int:
        assert self.fast_path is not None  # noqa: S101 - for the type checker
        try:
            return self.fast_path.start(descriptor, operations)
        except OSError as exc:
            raise MountFailed(f"the fast path cannot start: {exc.strerror}") from exc

    def _end(self) -> Path | None:
        """Where our mount is left, dead; its descriptors are closed, so that nothing waits."""
        try:
            place = self._place()
        except MountFailed:
            return None  # it was unmounted
        if not is_stale(place):
            return None
        if not self._is_up:
            _detach(place)
            return None
        log.error("%s", _left_dead(place))
        return place

    def _place(self) -> Path:
        if self._own is None:
            raise MountFailed(f"{self.mountpoint} is missing in the list of mounts")
        return place_of(self._own)


def _left_dead(place: Path) -> str:
    return (
        f"serving ended, but {place} was not unmounted: it is left mounted, dead, so that nothing "
        "is written into the directory below it; `tierfs mount` replaces it"
    )


def _detach(place: Path) -> None:
    try:
        unmount(place, lazy=True)
    except MountFailed as exc:
        log.warning("%s", exc)


@contextmanager
def _served(
    operations: pyfuse3.Operations, endpoint: int, words: Collection[str]
) -> Iterator[None]:
    """pyfuse3 on a descriptor that is open already, which it closes in the end."""
    try:
        pyfuse3.init(operations, f"/dev/fd/{endpoint}", set(words))
    except RuntimeError as exc:
        os.close(endpoint)
        raise MountFailed(f"libfuse does not take the connection ({exc})") from exc
    try:
        yield
    finally:
        pyfuse3.close(unmount=False)
