"""`tierfs list`, and who besides root may ask a daemon."""

from __future__ import annotations

import grp
import json
import os
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, mounts_at, tierfs
from tests.support.proc import wait_until
from tierfs.common.errors import NotMounted
from tierfs.daemon.control_client import ask

T = TypeVar("T")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")

STRANGER = 54321
"""A user and a group that nobody has."""


def listed(mount: Mount) -> dict[str, Any]:
    every = json.loads(tierfs("list", "--json"))
    found = [one for one in every if one["volume"] == str(mount.volume_file)]
    assert len(found) == 1
    one = found[0]
    assert isinstance(one, dict)
    return one


def test_a_mount_is_listed_with_its_daemon(mounted: Mount) -> None:
    status = mounted.status()
    assert listed(mounted) == {
        "mountpoint": str(mounted.path),
        "volume": str(mounted.volume_file),
        "state": "mounted",
        "pid": mounted.pid,
        "uuid": status["uuid"],
    }
    assert f"{mounted.path} " in tierfs("list")


def test_a_dead_mount_is_listed_as_such(mounted: Mount) -> None:
    mounted.kill()
    one = listed(mounted)
    assert (one["state"], one["pid"]) == ("dead", None)
    mounted.mount()


def test_a_daemon_without_its_mount_is_listed(mounted: Mount) -> None:
    # The last RELEASE ends the mount, perhaps before its reply is written.
    mounted.log.allow(r"fuse_release\(\): fuse_reply_\* failed with No such file or directory")
    with (mounted.path / "file").open("wb"):
        tierfs("umount", "--lazy", mounted.path)
        assert mounts_at(mounted.path) == 0
        one = listed(mounted)
        assert (one["state"], one["pid"]) == ("detached", mounted.pid)
    mounted.wait_for_daemon()
    mounted.mount()


def as_stranger(group: int, call: Callable[[], T]) -> T:
    """What `call` returns or raises in a process of another user."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(STRANGER)
            result: object = call()
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            result = error
        os.write(writing, pickle.dumps(result))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        result = pickle.load(answer)  # noqa: S301 - our own child's
    os.waitpid(child, 0)
    if isinstance(result, BaseException):
        raise result
    return result  # type: ignore[return-value]


@needs_root
def test_members_of_the_group_may_ask_and_change_nothing(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    group = next(one for one in grp.getgrall() if one.gr_gid > 0)
    mount.configure("control", f"{{group: {group.gr_name}}}")
    mount.mount()
    shown = as_stranger(group.gr_gid, lambda: ask(mount.path, "status"))
    assert shown["pid"] == mount.pid
    with pytest.raises(NotMounted, match="only root and the user who mounted it may use"):
        as_stranger(group.gr_gid, lambda: ask(mount.path, "policy apply"))
    with pytest.raises(NotMounted, match=r"ask as that user, or as a member .*control\.group"):
        as_stranger(STRANGER, lambda: ask(mount.path, "status"))


@needs_root
def test_without_a_group_nobody_else_may_ask(mounted: Mount) -> None:
    with pytest.raises(NotMounted, match="ask as that user"):
        as_stranger(STRANGER, lambda: ask(mounted.path, "status"))


def test_a_group_that_does_not_exist_keeps_no_data_from_being_mounted(
    make_mount: MakeMount,
) -> None:
    mount = make_mount.formatted()
    mount.configure("control", "{group: nosuchgroup}")
    tierfs("mount", mount.volume_file, mount.path)
    (mount.path / "file").write_text("served")
    wait_until(lambda: "there is no group 'nosuchgroup'" in mount.log.text(), what="the warning")
