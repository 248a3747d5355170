"""``tierfs debug-bundle``: what the archive of a volume holds, and that no name is in it."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.support.exporter import listen
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs

pytestmark = pytest.mark.once

PLANTED = "Secret7"
POLICY = f"""
version: 1 # {PLANTED}
flash: {{evict_order: [standard, {PLANTED}-class]}}
rules:
  - name: {PLANTED}-rule
    match: {{path: "/{PLANTED}/**", xattr: {{user.{PLANTED}: {PLANTED}}}}}
    head: none
    class: {PLANTED}-class
"""
ALWAYS = {"versions", "kernel", "doctor", "volume", "policy", "log", "journal", "mounts", "index"}
MOUNTED = {"status", "metrics", "process"}


JOURNALCTL = f"""#!/bin/sh
echo "-- No entries of {PLANTED} --"
echo "2026-11-29T23:46:58.123Z ERROR   tierfs.daemon.session: the daemon failed unexpectedly"
echo "OSError: [Errno 5] Input/output error: '/{PLANTED}'"
"""


@pytest.fixture
def secret(make_mount: MakeMount, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    """A volume all of whose names are secret, and in whose log and journal they are."""
    programs = scratch / "programs"
    programs.mkdir()
    (programs / "journalctl").write_text(JOURNALCTL)
    (programs / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    home = scratch / f"{PLANTED} home"
    home.mkdir()
    mount = make_mount.formatted(flash=home / f"{PLANTED} flash", disk=home / f"{PLANTED}-disk")
    policy = home / f"{PLANTED}.yaml"
    policy.write_text(POLICY)
    mount.configure("policy", json.dumps(str(policy)))
    mount.configure("log", f"{{file: {json.dumps(str(mount.log.path))}, level: debug}}")
    listen(mount)
    mount.mount()
    (mount.path / PLANTED).mkdir()
    path = mount.path / PLANTED / f"of a {PLANTED} plan"
    path.write_bytes(b"x" * 1000)
    tierfs("demote", "--wait", path)
    os.truncate(mount.disk_object(path.stat().st_ino), 10)
    mount.log.allow(PLANTED)
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()
    assert PLANTED in mount.log.path.read_text()
    return mount


def bundle(target: Path, *arguments: str | Path) -> dict[str, str]:
    """The files of a new bundle, by name without its ending."""
    said = tierfs("debug-bundle", "--output", target, *arguments)
    assert target.stat().st_mode & 0o777 == 0o600
    found = {}
    with tarfile.open(target) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            name = Path(entry.name).name
            if name == "missing.txt":
                continue
            assert name in said, "each part is listed"
            found[Path(name).stem] = file.read().decode()
    return found


def test_no_name_is_in_the_bundle_of_a_mount(secret: Mount, scratch: Path) -> None:
    found = bundle(scratch / "bundle.tar.gz", secret.path)
    assert found.keys() == ALWAYS | MOUNTED
    assert {name for name, text in found.items() if PLANTED.lower() in text.lower()} == set()
    assert json.loads(found["status"])["pid"] == secret.pid
    assert "tierfs_damage_total{" in found["metrics"]
    assert json.loads(found["index"])["pages"] > 0
    assert json.loads(found["policy"])["rules"][0]["head"] == "none"
    assert "tierfs-lead" in found["process"]
    assert "ERROR" in found["log"]
    assert "ERROR   tierfs.daemon.session: the daemon failed unexpectedly" in found["journal"]
    assert "OSError: [Errno 5] Input/output error: '/n-" in found["journal"]


def test_names_are_there_where_that_is_asked_for(secret: Mount, scratch: Path) -> None:
    found = bundle(scratch / "bundle.tar.gz", "--with-names", secret.volume_file)
    assert all(PLANTED in found[name] for name in ("status", "policy", "volume", "log"))


def test_a_volume_that_is_not_mounted(secret: Mount, scratch: Path) -> None:
    secret.unmount()
    target = scratch / "bundle.tar.gz"
    told = json.loads(tierfs("debug-bundle", "--json", "-o", target, secret.volume_file))
    assert {Path(one["name"]).stem for one in told["holds"] if one["missing"]} == MOUNTED
    found = {}
    with tarfile.open(target) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            found[Path(entry.name).name] = file.read().decode()
    assert PLANTED not in "".join(found.values())
    reasons = dict(line.split(": ", 1) for line in found["missing.txt"].splitlines())
    assert {Path(name).stem for name in reasons} == MOUNTED
    assert found.keys() & reasons.keys() == set(), "no file stands for what is missing"


def test_a_wrong_volume_file_and_a_file_that_is_there(secret: Mount, scratch: Path) -> None:
    text = secret.volume_file.read_text()
    secret.volume_file.write_text(text.replace("head:", f"{PLANTED}:"))
    target = scratch / "bundle.tar.gz"
    found = bundle(target, secret.path)
    assert PLANTED not in "".join(found.values())
    assert json.loads(found["status"])["pid"] == secret.pid
    said = tierfs("debug-bundle", "-o", target, secret.path, statuses=[1])
    assert "File exists" in said
    secret.volume_file.write_text(text)


def test_what_is_no_volume(scratch: Path) -> None:
    said = tierfs("debug-bundle", "-o", scratch / "x", scratch, statuses=[6])
    assert "is not a tierfs mountpoint" in said
    assert not (scratch / "x").exists()
