from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import prestarted
from tests.support.fixtures import MakeMount
from tests.support.proc import ProgramFailed, wait_until
from tierfs.common.errors import ExitCode
from tierfs.daemon.interpreter import module_command

pytestmark = pytest.mark.once

COMPARED = ("Umask", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapEff", "NoNewPrivs", "Seccomp")


def seen(pid: int) -> dict[str, object]:
    """What distinguishes one daemon from another in /proc."""
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    words = [word for word in (proc / "cmdline").read_bytes().split(b"\0") if word]
    stat = (proc / "stat").read_text().rpartition(")")[2].split()
    return {
        "words": [word for word in words if not word.startswith(b"--ready-pipe")],
        "leads its session": stat[3] == str(pid),
        "directory": os.readlink(proc / "cwd"),
        "program": os.readlink(proc / "exe"),
        "limits": (proc / "limits").read_text(),
        "descriptors": {
            link.name: os.readlink(link).partition(":")[0].partition("#")[0]
            for link in (proc / "fd").iterdir()
            if int(link.name) < 3
        },
        **{name: status[name] for name in COMPARED},
    }


def test_a_forked_daemon_is_as_one_that_was_started(
    make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = make_mount.formatted()
    mount.configure("backup", "{enabled: false}")  # copying the feed opens files after a while
    with monkeypatch.context() as patched:
        patched.setattr(prestarted, "active", None)
        mount.mount()
    started, opened = seen(mount.pid), descriptors(mount.pid)
    mount.unmount()
    mount.mount()
    assert Path(f"/proc/{mount.pid}/stat").read_text().rpartition(")")[2].split()[1] != str(
        os.getpid()
    ), "it was forked"
    assert seen(mount.pid) == started
    # Some are open for a moment only.
    wait_until(lambda: descriptors(mount.pid) <= opened, what="nothing else was inherited")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_a_forked_daemon_that_cannot_mount_says_why(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    (mount.flash / ".tierfs").rename(mount.flash / "gone")
    with pytest.raises(ProgramFailed, match="flash"):
        mount.mount()
    (mount.flash / "gone").rename(mount.flash / ".tierfs")
    mount.mount()


@pytest.mark.usefixtures("forked_daemons")
@pytest.mark.skipif(os.geteuid() != 0, reason="chooses the number of a process")
def test_the_number_of_a_process_that_has_ended_may_come_again(tmp_path: Path) -> None:
    starter = prestarted.active
    assert starter is not None

    def started(*arguments: str) -> prestarted.Forked:
        command = [*module_command("tierfs"), *arguments]
        return starter.fork(command, (out, out), tmp_path, os.environ)

    def in_turn() -> bool:
        """Whether both had one number: another program may take it."""
        first = started("version")
        assert first.wait(60) == 0
        Path("/proc/sys/kernel/ns_last_pid").write_text(f"{first.pid - 1}")
        second = started("no-such-verb")
        assert second.wait(60) == ExitCode.USAGE
        return second.pid == first.pid

    with (tmp_path / "out").open("wb") as out:
        wait_until(in_turn, what="two processes with one number", timeout=60)
