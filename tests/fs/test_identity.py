"""A volume's new UUID: in all three places or, when it is cut short, completed the next time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.volumes import LooseVolume, make_tiers, volume_settings
from tierfs.common.errors import VolumeBusy, VolumeRefused
from tierfs.fs import identity
from tierfs.fs.identity import CHANGE, give_new_uuid, volume_uuid
from tierfs.fs.volume import format_volume
from tierfs.storage.markers import MARKER


@pytest.fixture
def loose(tmp_path: Path) -> LooseVolume:
    settings = volume_settings(tmp_path / "home")
    make_tiers(settings)
    format_volume(settings)
    return LooseVolume(settings)


def opens(loose: LooseVolume) -> None:
    loose.open()
    loose.close()


def test_a_volume_has_its_new_uuid_everywhere(loose: LooseVolume) -> None:
    old = volume_uuid(loose.settings)
    new = give_new_uuid(loose.settings)
    assert new != old
    assert volume_uuid(loose.settings) == new
    assert not (loose.settings.flash / CHANGE).exists()
    opens(loose)


def test_what_else_a_marker_says_is_kept(loose: LooseVolume) -> None:
    marker = loose.settings.disk / MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "more": 7}))
    give_new_uuid(loose.settings)
    assert json.loads(marker.read_text())["more"] == 7


def test_a_volume_in_use_is_refused(loose: LooseVolume) -> None:
    old = volume_uuid(loose.settings)
    loose.open()
    with pytest.raises(VolumeBusy):
        give_new_uuid(loose.settings)
    loose.close()
    assert volume_uuid(loose.settings) == old


@pytest.mark.parametrize("nth", range(3))
def test_a_change_that_is_cut_short_is_completed(
    loose: LooseVolume, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    write, left = identity._write, iter([None] * nth)

    def dies(path: Path, content: dict[str, object]) -> None:
        try:
            next(left)
        except StopIteration:
            raise KeyboardInterrupt from None
        write(path, content)

    monkeypatch.setattr(identity, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        give_new_uuid(loose.settings)
    monkeypatch.undo()
    assert give_new_uuid(loose.settings) == volume_uuid(loose.settings)
    assert not (loose.settings.flash / CHANGE).exists()
    opens(loose)


def foreign_disk(loose: LooseVolume, other: LooseVolume) -> None:
    (loose.settings.disk / MARKER).write_text((other.settings.disk / MARKER).read_text())


def foreign_index(loose: LooseVolume, other: LooseVolume) -> None:
    loose.settings.index.write_bytes(other.settings.index.read_bytes())


def damaged(loose: LooseVolume, _other: LooseVolume) -> None:
    (loose.settings.flash / CHANGE).write_text("[]")


@pytest.mark.parametrize("spoil", [foreign_disk, foreign_index, damaged])
def test_parts_of_two_volumes_are_not_joined(
    loose: LooseVolume, tmp_path: Path, spoil: Callable[[LooseVolume, LooseVolume], None]
) -> None:
    settings = volume_settings(tmp_path / "other")
    make_tiers(settings)
    format_volume(settings)
    spoil(loose, LooseVolume(settings))
    before = [
        (loose.settings.flash / MARKER).read_text(),
        (loose.settings.disk / MARKER).read_text(),
    ]
    with pytest.raises(VolumeRefused):
        give_new_uuid(loose.settings)
    assert before == [
        (loose.settings.flash / MARKER).read_text(),
        (loose.settings.disk / MARKER).read_text(),
    ]
