"""Fixtures of a mounted volume; a conftest.py that wants them imports them by name."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.exporter import listen
from tests.support.mounting import HEAD, Mount
from tests.support.places import NativeDirectory, Place

MEMORY = Path("/dev", "shm")
"""Where the volumes of the tests lie when the machine has it: a sync costs nothing there."""

TIMEOUT = 120
"""Seconds that a test has if it does not say otherwise, as in pyproject.toml."""

MARGIN = 10
"""Seconds before a test's time-out at which its mount is taken away, so that it can still fail."""

BOTH_WAYS = [
    pytest.param((), id="router", marks=pytest.mark.once),
    pytest.param(("no_fastpath",), id="python", marks=pytest.mark.once),
]
"""Mount options of a test that tries both in one run, with the fast path and without."""

both_ways = pytest.mark.parametrize("options", BOTH_WAYS)


class MakeMount:
    """Makes volumes below one directory; each is unmounted and checked when the stack unwinds."""

    def __init__(self, home: Path, stack: contextlib.ExitStack, patience: float) -> None:
        self._home = home
        self._stack = stack
        self._patience = patience
        self._made = 0

    def __call__(
        self,
        *options: str,
        flash: Path | None = None,
        disk: Path | None = None,
        index: Path | None = None,
        head: int = HEAD,
    ) -> Mount:
        """Format a volume and mount it with these options; the tiers may lie elsewhere."""
        mount = self.formatted(flash=flash, disk=disk, index=index, head=head)
        mount.mount(*options)
        return mount

    def formatted(
        self,
        *,
        flash: Path | None = None,
        disk: Path | None = None,
        index: Path | None = None,
        head: int = HEAD,
    ) -> Mount:
        """Format a volume and do not mount it yet."""
        self._made += 1
        home = self._home / f"volume-{self._made}"
        mount = Mount(home, flash=flash, disk=disk, index=index, head=head)
        self._stack.enter_context(contextlib.closing(mount))
        self._stack.enter_context(watchdog(mount, self._patience))
        return mount


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, in memory where possible."""
    with directory(tmp_path) as path:
        yield path


@pytest.fixture
def make_mount(
    scratch: Path,
    request: pytest.FixtureRequest,
    forked_daemons: None,  # noqa: ARG001 - it must be there
) -> Iterator[MakeMount]:
    """Makes fresh volumes and mounts them."""
    with contextlib.ExitStack() as stack:
        yield MakeMount(scratch, stack, patience(request))


@pytest.fixture(scope="session")
def shared_volume(
    tmp_path_factory: pytest.TempPathFactory,
    forked_daemons: None,  # noqa: ARG001 - it must be there
) -> Iterator[Mount]:
    """One volume, with a metrics endpoint, that many tests use one after the other."""
    home = tmp_path_factory.mktemp("shared")
    with directory(home) as path, contextlib.closing(Mount(path / "shared")) as mount:
        listen(mount)
        yield mount


@pytest.fixture
def mounted(shared_volume: Mount, request: pytest.FixtureRequest) -> Iterator[Mount]:
    """A mounted, empty volume; it is not made anew for each test, since that takes a second."""
    with watchdog(shared_volume, patience(request)):
        shared_volume.renew()
        yield shared_volume
        shared_volume.log.check()


@pytest.fixture(params=[pytest.param("native", marks=pytest.mark.once), "mount"])
def place(
    request: pytest.FixtureRequest,
    scratch: Path,
    forked_daemons: None,  # noqa: ARG001 - it must be there before the test
) -> Place:
    """First a native directory, which proves the test, then a mount."""
    if request.param == "native":
        return NativeDirectory(scratch / "native")
    mount = request.getfixturevalue("mounted")
    assert isinstance(mount, Mount)
    return mount


def patience(request: pytest.FixtureRequest) -> float:
    """Seconds that a test waits for a mount at most: a little less than it may run."""
    marker = request.node.get_closest_marker("timeout")
    return float(marker.args[0] if marker else TIMEOUT) - MARGIN


@contextlib.contextmanager
def directory(fallback: Path) -> Iterator[Path]:
    """A new directory in memory, or `fallback` where there is no such place; removed at the end."""
    usable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    path = Path(tempfile.mkdtemp(prefix="tierfs-test-", dir=MEMORY)) if usable else fallback
    path.chmod(0o755)  # other users must get through to the mountpoint
    try:
        yield path
    finally:
        # Whatever a test left mounted below stays in the way here, and so gets noticed.
        shutil.rmtree(path)


class Abortable(Protocol):
    """A mount, or several."""

    def abort(self) -> None:
        """Take it away by force."""


@contextlib.contextmanager
def watchdog(mount: Abortable, patience: float) -> Iterator[None]:
    """Take the mount away after `patience` seconds, so that whoever waits for it gets an error."""
    timer = threading.Timer(patience, mount.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
