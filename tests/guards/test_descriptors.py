from __future__ import annotations

from tests.guards.conftest import RunUnder


def test_what_a_test_leaves_open_fails_it(run_under: RunUnder) -> None:
    result = run_under(
        "descriptors",
        """
        import os, socket

        KEPT = []

        def test_file():
            os.open("/dev/zero", os.O_RDONLY)

        def test_socket():
            KEPT.append(socket.socketpair())

        def test_pipe():
            os.pipe()
        """,
    )
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(["*descriptor *: /dev/zero", "*: socket:*", "*: pipe:*"])


def test_what_is_closed_or_garbage_passes(run_under: RunUnder) -> None:
    result = run_under(
        "descriptors",
        """
        import os

        class Cycle:
            def __init__(self):
                self.itself = self
                self.fd = os.open("/dev/zero", os.O_RDONLY)

            def __del__(self):
                os.close(self.fd)

        def test_closed(tmp_path):
            with open(tmp_path / "file", "w") as file:
                file.write("x")

        def test_garbage():
            Cycle()
        """,
    )
    result.assert_outcomes(passed=2)


def test_what_a_wider_fixture_holds_passes(run_under: RunUnder) -> None:
    result = run_under(
        "descriptors",
        """
        import pytest

        @pytest.fixture(scope="module")
        def held(tmp_path_factory):
            path = tmp_path_factory.mktemp("held") / "file"
            with open(path, "w") as file:
                yield path

        def test_first(held):
            pass

        def test_unlinked_under_it(held):
            held.unlink()
        """,
    )
    result.assert_outcomes(passed=2)
