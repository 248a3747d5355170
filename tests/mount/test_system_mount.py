"""mount(8), fstab(5) and their friends, in a mount namespace with an /sbin of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount
from tests.support.proc import as_root, run

pytestmark = pytest.mark.alone

PRIVATE_SBIN = """
mkdir "$home/upper" "$home/work"
mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$home/upper,workdir=$home/work" none /usr/sbin
"$python" -m tierfs install-helpers --units /nonexistent
"""

EPILOGUE = """
umount "$mnt"
! findmnt "$mnt"
"""


@pytest.fixture
def volume(make_mount: MakeMount) -> Mount:
    return make_mount.formatted()


def shell(volume: Mount, script: str) -> str:
    """What the script prints, run by root in a mount namespace of its own."""
    home = volume.volume_file.parent
    setting = {
        "home": home,
        "volume": volume.volume_file,
        "mnt": volume.path,
        "python": Path(sys.executable),
    }
    names = "".join(f"{name}='{value}'\n" for name, value in setting.items())
    program = ["unshare", "--mount", "--propagation", "private", "sh", "-euc"]
    done = run(as_root(*program, names + PRIVATE_SBIN + script), timeout=100)
    return done.stdout.partition("mount.fuse.tierfs\n")[2]


def test_mount_by_type_shows_its_options(volume: Mount) -> None:
    script = """
    mount -t tierfs "$volume" "$mnt" -o noatime,nosuid
    echo hello > "$mnt/file"
    findmnt -n -o FSTYPE,SOURCE,OPTIONS "$mnt"
    df --output=source,target "$mnt" | tail -1
    """
    found, shown = shell(volume, script + EPILOGUE).splitlines()
    assert found.split()[:2] == ["fuse.tierfs", str(volume.volume_file)]
    assert {"rw", "noatime", "nosuid", "allow_other"} <= set(found.split()[2].split(","))
    assert shown.split() == [str(volume.volume_file), str(volume.path)]
    volume.mount()
    assert (volume.path / "file").read_text() == "hello\n"


def test_a_line_of_fstab(volume: Mount) -> None:
    script = """
    echo "$volume $mnt tierfs noatime,nofail,_netdev,x-systemd.automount 0 0" > "$home/fstab"
    echo "$home/missing.yaml $home tierfs nofail 0 0" >> "$home/fstab"
    mount -a -T "$home/fstab"
    findmnt -n -o OPTIONS "$mnt"
    mount -a -v -T "$home/fstab" | grep "$mnt"
    findmnt -n "$mnt" | wc -l
    """
    options, second, count = shell(volume, script + EPILOGUE).splitlines()
    assert "noatime" in options
    assert second.endswith("already mounted")
    assert count == "1"


def test_by_the_mountpoint_alone(volume: Mount) -> None:
    script = """
    echo "$volume $mnt tierfs noauto,ro 0 0" > "$home/fstab"
    mount -T "$home/fstab" "$mnt"
    ! touch "$mnt/file"
    """
    assert shell(volume, script + EPILOGUE) == ""


def test_a_mount_right_after_an_unmount_succeeds(volume: Mount) -> None:
    script = """
    for round in 1 2 3; do
        mount -t tierfs "$volume" "$mnt"
        echo $round >> "$mnt/file"
        umount "$mnt"
    done
    mount -t tierfs "$volume" "$mnt"
    cat "$mnt/file"
    """
    assert shell(volume, script + EPILOGUE).split() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ('mount -t tierfs "$volume" "$mnt" -o allow_ohter', 1, "did you mean 'allow_other'?"),
        ('mount -t tierfs "$home/none.yaml" "$mnt"', 32, "none.yaml"),
        ('mount -t tierfs "$volume" "$home/flash"', 32, "which tierfs itself uses"),
        ('mount -t fuse.tierfs "$volume" "$mnt" -o remount,ro', 1, "is not supported"),
    ],
)
def test_what_goes_wrong_is_told(volume: Mount, command: str, status: int, message: str) -> None:
    script = f'status=0; {command} 2>&1 || status=$?; echo "$status"'
    *said, code = shell(volume, script).splitlines()
    assert int(code) == status
    assert message in "\n".join(said)
