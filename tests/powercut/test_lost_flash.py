"""With ``feed: sync`` the power goes, and flash is gone: every name that was synced is there."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.powercut.devices import NO_FLUSH, LoopFilesystem, cut
from tests.powercut.trial import end_daemon, volume_on
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until

pytestmark = pytest.mark.long

POLICY = "version: 1\nmirror: sync\n"
WRITERS = 3


class Journal:
    """Files that were made and synced, each by one of several threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.synced: dict[str, bytes] = {}
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _write(self, writer: int) -> None:
        """Until the filesystem is gone."""
        with suppress(OSError):
            for number in range(100_000):
                self._make(f"{writer}-{number}", b"%d-%d" % (writer, number) * 500)

    def _make(self, name: str, content: bytes) -> None:
        """A name that is there only for a moment, the bytes, an attribute; then it is synced."""
        path = self._root / f"{name}.new"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
        try:
            os.write(descriptor, content)
            os.setxattr(path, "user.label", name.encode())
            path.rename(self._root / name)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.synced[name] = content


@pytest.fixture
def devices(scratch: Path) -> Iterator[tuple[LoopFilesystem, LoopFilesystem]]:
    with ExitStack() as stack:
        made = []
        for name in ("flash", "disk"):
            made.append(LoopFilesystem(scratch / f"{name}.img", scratch / f"{name}-device", "ext4"))
            stack.callback(made[-1].close)
        yield made[0], made[1]


@pytest.fixture
def mount(devices: tuple[LoopFilesystem, LoopFilesystem], scratch: Path) -> Iterator[Mount]:
    mount = volume_on(scratch, devices)
    (scratch / "policy.yaml").write_text(POLICY)
    with mount.volume_file.open("a") as file:
        file.write("backup: {feed: sync}\n")
    mount.mount()
    yield mount
    end_daemon(mount)


@pytest.mark.timeout(240)
def test_what_was_synced_survives_the_loss_of_flash(
    mount: Mount, devices: tuple[LoopFilesystem, LoopFilesystem], scratch: Path
) -> None:
    flash, disk = devices
    journal = Journal(mount.path)
    journal.start()
    wait_until(lambda: len(journal.synced) > 60, what="files are synced", timeout=120)
    cut([flash.at, disk.at], NO_FLUSH)
    end_daemon(mount)
    journal.join()
    disk.detach()
    disk.attach()
    new = scratch / "new"
    new.mkdir(0o755)
    tierfs("replace-flash", mount.volume_file, new, statuses=[0, 7])
    mount.flash = new
    mount.log.allow("object is missing|change feed|failed|Input/output")
    mount.mount()
    for name, content in journal.synced.items():
        path = mount.path / name
        assert path.read_bytes() == content
        assert os.getxattr(path, "user.label") == name.encode()
        assert path.stat().st_mode & 0o777 == 0o640
    mount.unmount()
    shutil.rmtree(mount.flash / "lost+found", ignore_errors=True)
    assert_clean(mount.volume_file)
