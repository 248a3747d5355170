from __future__ import annotations

from pathlib import Path

from tests.guards.conftest import RunUnder
from tests.guards.fuse import why_no_fuse


def test_the_reason_names_the_device_and_a_remedy(tmp_path: Path) -> None:
    reason = why_no_fuse(tmp_path / "fuse")
    assert reason is not None
    assert "No such file or directory" in reason
    assert "--device /dev/fuse" in reason


def test_only_tests_that_mount_fail_without_the_device(run_under: RunUnder) -> None:
    result = run_under(
        "fuse",
        """
        import pytest
        from tests.guards import fuse

        fuse.why_no_fuse = lambda: "no device here"

        @pytest.fixture
        def mounted():
            raise AssertionError("never reached")

        @pytest.fixture
        def repository(mounted):
            raise AssertionError("never reached")

        def test_mounts(mounted): pass
        def test_mounts_through_another_fixture(repository): pass
        def test_needs_no_mount(): pass
        """,
    )
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["no device here", "no device here"])
