from __future__ import annotations

from tests.guards.conftest import RunUnder


def test_an_unexpected_warning_fails_the_test(run_under: RunUnder) -> None:
    result = run_under(
        "logs",
        """
        import logging

        def test_quiet():
            logging.getLogger("tierfs.fs").info("all is well")

        def test_loud():
            logging.getLogger("tierfs.fs").warning("object %d is short", 7)
        """,
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*unexpected WARNING from tierfs.fs: object 7 is short"])


def test_a_warning_from_a_thread_fails_the_test(run_under: RunUnder) -> None:
    result = run_under(
        "logs",
        """
        import logging, threading

        def test_thread():
            thread = threading.Thread(target=logging.getLogger("x").error, args=["lost"])
            thread.start()
            thread.join()
        """,
    )
    result.assert_outcomes(passed=1, errors=1)


def test_an_announced_warning_passes(run_under: RunUnder) -> None:
    result = run_under(
        "logs",
        """
        import logging

        def test_announced(expect_log):
            expect_log(r"object \\d+ is short")
            expect_log("may come", required=False)
            logging.getLogger("tierfs.fs").warning("object 7 is short")
        """,
    )
    result.assert_outcomes(passed=1)


def test_an_announced_warning_must_come(run_under: RunUnder) -> None:
    result = run_under(
        "logs",
        """
        def test_announced(expect_log):
            expect_log("never written")
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*nothing was logged that matches 'never written'"])
