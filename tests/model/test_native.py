"""The model against the kernel's own filesystems: what passes here is what Linux does."""

from pathlib import Path

import pytest

from tests.model.native_driver import NativeDriver
from tests.model.running import SMALL_HEAD, TIMEOUT_S, USUAL_HEAD, run_machine

pytestmark = pytest.mark.long


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("boundary", [SMALL_HEAD, USUAL_HEAD])
def test_the_model_does_what_a_native_filesystem_does(scratch: Path, boundary: int) -> None:
    run_machine(lambda: NativeDriver(scratch), boundary, examples=60)
