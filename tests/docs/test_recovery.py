"""The commands of the page on recovery, run on a volume that is harmed as its heading says."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.docs.pages import read
from tests.support.filesystems import memory_filesystem
from tests.support.fixtures import MakeMount, make_mount, scratch
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, wait_until

__all__ = ["make_mount", "scratch"]

CONTENT = {"head": b"h" * 1000, "tail": os.urandom(200_000)}


def commands_below(heading: str) -> list[list[str]]:
    """The commands in the blocks of a section."""
    page = read("docs/how-to/recover-a-volume.md")
    _, found, rest = page.partition(f"\n## {heading}\n")
    assert found, heading
    section = rest.partition("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line.split() for block in blocks for line in block.splitlines()]


class Patient:
    """A volume that is not mounted, with two files on disk, one of them mirrored nowhere."""

    def __init__(self, mount: Mount, home: Path) -> None:
        self.mount, self.home = mount, home
        self.copy = home / "copy"
        for name, content in CONTENT.items():
            (mount.path / name).write_bytes(content)
            os.setxattr(mount.path / name, "user.label", name.encode())
        tierfs("demote", "--wait", *(mount.path / name for name in CONTENT))
        mount.unmount()
        shutil.copytree(mount.flash, self.copy / "flash")
        shutil.copytree(mount.disk, self.copy / "disk")
        mount.mount()
        mount.back_up()
        mount.unmount()

    def follow(self, heading: str, statuses: tuple[int, ...] = (0,)) -> None:
        """Do what the page says."""
        places = {
            "VOLUME.yaml": self.mount.volume_file,
            "/mnt/images": self.mount.path,
            "/new-nvme/images": self.home / "new-nvme",
            "/new-raid/images": self.home / "new-raid",
            "/nvme/images.index.old": self.home / "index.old",
            "/nvme/images": self.mount.flash,
            "/raid/images": self.mount.disk,
        }
        pattern = re.compile("|".join(map(re.escape, places)))
        for words in commands_below(heading):
            program, *arguments = [pattern.sub(lambda m: str(places[m[0]]), word) for word in words]
            argv = [sys.executable, "-m", "tierfs"] if program == "tierfs" else [program]
            run([*argv, *arguments], statuses=statuses)

    def assert_whole(self, where: str = "") -> None:
        """Every file is there, as it was."""
        for name, content in CONTENT.items():
            path = self.mount.path / where / name
            assert path.read_bytes() == content
            assert os.getxattr(path, "user.label") == name.encode()


@pytest.fixture
def tiers(scratch: Path) -> Iterator[tuple[Path, Path]]:
    """A flash and a disk of 40 and 48 MiB."""
    with (
        memory_filesystem(scratch / "small-flash", 40) as flash,
        memory_filesystem(scratch / "small-disk", 48) as disk,
    ):
        yield flash, disk


@pytest.fixture
def patient(make_mount: MakeMount, scratch: Path) -> Patient:
    return Patient(make_mount(), scratch)


def lose_index(patient: Patient) -> None:
    for each in patient.mount.flash.glob("index.db*"):
        each.unlink()


def bring_old_index(patient: Patient) -> None:
    lose_index(patient)
    shutil.copy(patient.copy / "flash" / "index.db", patient.mount.flash)


def lose_flash(patient: Patient) -> None:
    shutil.rmtree(patient.mount.flash)


def restore_disk(patient: Patient) -> None:
    shutil.rmtree(patient.mount.disk)
    shutil.copytree(patient.copy / "disk", patient.mount.disk)


@pytest.mark.parametrize(
    ("heading", "harm", "statuses"),
    [
        ("The index is lost", lose_index, (0,)),
        ("The index is an old copy", bring_old_index, (0,)),
        ("The flash device is dead", lose_flash, (0,)),
        ("The disk device is dead", restore_disk, (0, 7)),
    ],
)
def test_a_volume_recovers(
    patient: Patient,
    heading: str,
    harm: Callable[[Patient], None],
    statuses: tuple[int, ...],
) -> None:
    harm(patient)
    tierfs("mount", patient.mount.volume_file, patient.mount.path, statuses=[3])
    patient.follow(heading, statuses)
    patient.assert_whole()
    tierfs("umount", patient.mount.path)


def test_files_come_back_without_any_backup(patient: Patient) -> None:
    lose_index(patient)
    shutil.rmtree(patient.mount.disk / "backup")
    patient.follow("No backup is left")
    patient.mount.mount()
    found = {path.read_bytes() for path in (patient.mount.path / "lost+found").iterdir()}
    assert found == set(CONTENT.values())


def test_a_copy_that_was_interrupted_is_copied_again(patient: Patient) -> None:
    shutil.copytree(patient.copy / "flash", patient.home / "new-nvme")  # older than the other
    patient.follow("A copy of the volume was interrupted")
    mount = patient.mount
    shutil.rmtree(mount.flash)
    shutil.rmtree(mount.disk)
    (patient.home / "new-nvme").rename(mount.flash)
    (patient.home / "new-raid").rename(mount.disk)
    mount.mount()
    patient.assert_whole()


def test_the_wrong_directories_are_told_of(patient: Patient, make_mount: MakeMount) -> None:
    other = make_mount.formatted()
    text = patient.mount.volume_file.read_text()
    wrong = text.replace(str(patient.mount.disk), str(other.disk))
    patient.mount.volume_file.write_text(wrong)
    said = tierfs("mount", patient.mount.volume_file, patient.mount.path, statuses=[3])
    assert "belongs to volume" in said
    patient.mount.volume_file.write_text(text)
    patient.follow("The wrong directories")
    patient.assert_whole()
    tierfs("umount", patient.mount.path)


def fill(directory: Path) -> None:
    for number in range(1000):
        (directory / f"{number}").write_bytes(os.urandom(1_000_000))


def test_a_volume_that_is_full_has_room_again(
    tiers: tuple[Path, Path], make_mount: MakeMount, scratch: Path
) -> None:
    mount = make_mount(flash=tiers[0], disk=tiers[1])
    patient = Patient(mount, scratch)
    mount.mount()
    (mount.path / "scratch").mkdir()
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        fill(mount.path / "scratch")
    patient.follow("The volume is full")
    patient.assert_whole()

    def fits() -> bool:
        with suppress(OSError):
            (mount.path / "new").write_bytes(bytes(5_000_000))
            return True
        return False

    wait_until(fits, what="there is room")
    mount.back_up()


def test_every_way_to_lose_a_volume_has_a_section() -> None:
    sections = re.findall(r"^## (.*)$", read("docs/how-to/recover-a-volume.md"), re.MULTILINE)
    assert set(sections) >= {
        "The index is lost",
        "The index is an old copy",
        "The flash device is dead",
        "The disk device is dead",
        "A copy of the volume was interrupted",
        "The wrong directories",
        "The volume is full",
    }
    without = {"A device is to grow or to be replaced"}
    assert [each for each in sections if not commands_below(each)] == [*without]
