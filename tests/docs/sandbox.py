"""A copy of this machine in which a page's commands run as they stand."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.proc import REPOSITORY, run

ENTER = """
set -eu
root=$1/root repository=$2 script=$3
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$root"
mount -t overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" overlay "$root"
cp "$script" "$root/root/commands"
mount --bind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for place in nvme raid new-nvme new-raid other-raid backup data scratch; do
    mkdir -p "$root/$place"
    mount -t tmpfs -o mode=755 tmpfs "$root/$place"
done
mkdir -p "$root$repository"
mount --rbind "$repository" "$root$repository"
mkdir -p "$root/etc/tierfs" "$root/mnt/images"
printf '#!/bin/sh\\nexec %s -m tierfs "$@"\\n' "$4" > "$root/usr/local/bin/tierfs"
printf '#!/bin/sh\\nexec "$@"\\n' > "$root/usr/local/bin/sudo"
chmod 755 "$root/usr/local/bin/tierfs" "$root/usr/local/bin/sudo"
ip link set lo up
export HOME=/root PYTHONPATH=$repository PATH=/usr/local/bin:${4%/*}:/usr/sbin:/usr/bin:/sbin:/bin
exec chroot "$root" bash -eux -o pipefail /root/commands
"""
"""Of other filesystems than / only the repository is there, and no mount of another test."""


def run_in_sandbox(home: Path, script: str, *, timeout: float) -> str:
    """Run a bash script in a copy of this machine's tree, where it is root; what it printed.

    Mounts, daemons and files end with it. ``home`` is an empty directory for the copy's changes.
    Raises ProgramFailed with the trace at the first command that fails, or after ``timeout``
    seconds.
    """
    file, place = home / "commands", home / "sandbox"
    file.write_text(script, encoding="utf-8")
    place.mkdir()
    alone = ["unshare", "--mount", "--propagation=private", "--pid", "--net"]
    argv = [*alone, "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]
    done = run([*argv, place, REPOSITORY, file, sys.executable], timeout=timeout)
    return done.stdout + done.stderr
