"""Root opens a volume only when nobody else can change it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.volumes import make_tiers, volume_settings
from tierfs.common.errors import VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.trust import exposed
from tierfs.fs import trust
from tierfs.fs.volume import format_volume, open_volume
from tierfs.fsck.check import check
from tierfs.policy.volume_file import VolumeFile

SOMEBODY = 11004

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


@pytest.fixture
def settings(home: Path) -> VolumeFile:
    """A volume, formatted, that is good enough."""
    chosen = volume_settings(home / "above/volume")
    make_tiers(chosen)
    chosen.path.write_text("version: 1\n")
    format_volume(chosen)
    return chosen


def open_and_close(settings: VolumeFile) -> None:
    open_volume(settings, metrics=Metrics()).close()


def group_writable(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWGRP)


def world_writable(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWOTH)


def given_away(path: Path) -> None:
    os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)


@pytest.mark.parametrize("expose", [group_writable, world_writable, given_away])
@pytest.mark.parametrize(
    "which", ["", "flash", "disk", "volume.yaml", "..", "flash/index.db", "flash/.tierfs"]
)
def test_what_others_can_change_is_refused(
    settings: VolumeFile, which: str, expose: Callable[[Path], None]
) -> None:
    open_and_close(settings)
    path = (settings.path.parent / which).resolve()
    expose(path)
    if path.parent == settings.flash and expose is not given_away:
        open_and_close(settings)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        return
    for act in (open_and_close, check):
        with pytest.raises(
            VolumeRefused, match=rf"{path} (belongs to|can be written by).*ch(own|mod)"
        ):
            act(settings)


@pytest.mark.parametrize("name", ["heads", "index.db-wal", "index.db-journal", "index.db.heat"])
def test_what_others_put_there_is_refused(settings: VolumeFile, name: str) -> None:
    open_and_close(settings)
    path = settings.flash / name
    if not path.exists():
        path.touch()
    given_away(path)
    with pytest.raises(VolumeRefused, match=f"{name} belongs to user {SOMEBODY}"):
        open_and_close(settings)


def test_nothing_is_formatted_where_others_can_write(home: Path) -> None:
    chosen = volume_settings(home / "volume")
    make_tiers(chosen)
    world_writable(chosen.disk)
    with pytest.raises(VolumeRefused, match="disk can be written by everybody"):
        format_volume(chosen)


def test_a_sticky_directory_is_good_enough_on_the_way(settings: VolumeFile) -> None:
    settings.path.parent.parent.chmod(0o1777)
    open_and_close(settings)


def test_a_sticky_tier_of_our_own_is_closed_to_others(settings: VolumeFile) -> None:
    """The root directory of a tmpfs is such a one."""
    settings.disk.chmod(0o1777)
    open_and_close(settings)
    assert stat.S_IMODE(settings.disk.stat().st_mode) == 0o1755


def test_a_directory_for_everybody_stays_as_it_is(settings: VolumeFile, home: Path) -> None:
    """`tierfs init --flash /tmp`, or an index there, must not close /tmp to others."""
    shared = home / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "file").touch()
    with pytest.raises(VolumeRefused, match="is not empty"):
        format_volume(replace(settings, flash=shared))
    with pytest.raises(VolumeRefused, match=r"is not the flash directory"):
        open_and_close(replace(settings, flash=shared))
    settings.index.rename(shared / "index.db")
    with pytest.raises(VolumeRefused, match="make a directory of root's own in it"):
        open_and_close(replace(settings, index=shared / "index.db"))
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


def test_a_link_of_somebody_else_is_refused(settings: VolumeFile, home: Path) -> None:
    way = home / "way"
    way.symlink_to(settings.path.parent)
    through = replace(settings, flash=way / "flash", disk=way / "disk")
    open_and_close(through)
    given_away(way)
    with pytest.raises(VolumeRefused, match=f"{way} belongs to"):
        open_and_close(through)


def test_the_directory_of_a_link_counts_as_well(settings: VolumeFile, home: Path) -> None:
    open_to_all = home / "open"
    open_to_all.mkdir()
    (open_to_all / "way").symlink_to(settings.path.parent)
    world_writable(open_to_all)
    with pytest.raises(VolumeRefused, match=f"{open_to_all} can be written by everybody"):
        open_and_close(replace(settings, disk=open_to_all / "way/disk"))


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        exposed(tmp_path / "a/c")


@pytest.fixture
def allowing(settings: VolumeFile, home: Path) -> VolumeFile:
    """Its directories are somebody else's, its index is not."""
    (home / "index").mkdir()
    moved = settings.index.rename(home / "index/index.db")
    given_away(settings.flash)
    given_away(settings.disk)
    return replace(settings, index=moved, allow_untrusted=True)


@pytest.fixture
def _protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sysctl = tmp_path / "protected_hardlinks"
    sysctl.write_text("1\n")
    monkeypatch.setattr(trust, "PROTECTED_HARDLINKS", sysctl)


@pytest.mark.usefixtures("_protected")
def test_it_can_be_allowed(allowing: VolumeFile) -> None:
    open_and_close(allowing)
    with pytest.raises(VolumeRefused, match="'allow_untrusted: true' in the volume file"):
        open_and_close(replace(allowing, allow_untrusted=False))


@pytest.mark.usefixtures("_protected")
def test_the_index_is_never_theirs(allowing: VolumeFile) -> None:
    inside = replace(allowing, index=allowing.flash / "index.db")
    with pytest.raises(VolumeRefused, match="let 'index' in the volume file name a place"):
        open_and_close(inside)


def test_hard_links_are_not_theirs_either(
    allowing: VolumeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysctl = tmp_path / "protected_hardlinks"
    sysctl.write_text("0\n")
    monkeypatch.setattr(trust, "PROTECTED_HARDLINKS", sysctl)
    with pytest.raises(VolumeRefused, match=r"sysctl fs\.protected_hardlinks=1"):
        open_and_close(allowing)


def test_other_users_are_not_asked(settings: VolumeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    world_writable(settings.flash)
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    open_and_close(settings)


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_sqlite_follows_no_link(settings: VolumeFile, home: Path, suffix: str) -> None:
    open_and_close(settings)
    path = settings.index.with_name(f"{settings.index.name}{suffix}")
    target = home / "target"
    if suffix:
        target.write_bytes(b"root's file")
    else:
        path.rename(target)
    path.symlink_to(target)
    before = target.read_bytes()
    with pytest.raises(VolumeRefused, match=r"cannot be opened: .*symbolic link"):
        open_and_close(settings)
    assert target.read_bytes() == before
