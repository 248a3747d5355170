"""A crash at any call leaves nothing that a check finds, but ends of objects that nobody reads."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fs import scenarios
from tests.fs.scenarios import OPERATIONS, Operation, points, prepared
from tests.support.faulty_os import Killed
from tests.support.fsck import assert_clean
from tests.support.volumes import LooseVolume, volume_settings
from tierfs.fsck import kinds
from tierfs.fsck.check import check


@pytest.fixture(scope="module")
def template() -> Iterator[LooseVolume]:
    with scenarios.template() as made:
        yield made


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_a_crash_leaves_a_clean_volume(
    template: LooseVolume, home: Path, operation: Operation
) -> None:
    for point in points(template, home, operation):
        with prepared(template, home / "killed") as volume:
            volume.os.full = operation.full
            volume.os.kill(point, "before", lambda: volume.copy(home / "crashed"))
            with contextlib.suppress(Killed):
                operation.do(volume)
        crashed = volume_settings(home / "crashed", template.head)
        report = check(crashed, thorough=True)
        assert set(report.counts) <= {kinds.LEFTOVER}, f"before {point}"
        survivor = LooseVolume(crashed)
        survivor.open()
        survivor.close()
        assert_clean(crashed)
        shutil.rmtree(crashed.path.parent)
