"""The FUSE check: without /dev/fuse a test that mounts fails, and says why; it is never skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEVICE = Path("/dev/fuse")
MOUNTING_FIXTURES = frozenset({"make_mount", "mounted", "shared_trio", "shared_read_only_trio"})
"""The fixtures that mount; a test is checked that names one, itself or through another."""


def why_no_fuse(device: Path = DEVICE) -> str | None:
    """What keeps this process from mounting, or None when nothing does."""
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as exc:
        return (
            f"{device}: {exc.strerror}. The tests that mount need it: load the kernel module fuse,"
            " or start the container with --device /dev/fuse --cap-add SYS_ADMIN"
        )
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail with the remedy before a mount is tried on a machine that cannot."""
    fixtures = getattr(item, "fixturenames", ())
    if MOUNTING_FIXTURES.intersection(fixtures) and (reason := why_no_fuse()):
        pytest.fail(reason, pytrace=False)
