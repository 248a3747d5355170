"""A debug bundle keeps what tierfs and the C library say, and hides every name."""

from __future__ import annotations

import json
import re

import pytest

from tierfs.cli.redaction import Redactor

AT = "2026-11-29T23:46:58.123Z"


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(with_names=False, known=["6.1.0-18-amd64"])


@pytest.fixture(scope="module")
def hidden(redactor: Redactor) -> str:
    return redactor.name("secret")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            f"{AT} INFO    tierfs.daemon.session: /secret is mounted on /secret/x (rw)",
            f"{AT} INFO    tierfs.daemon.session: /N is mounted on /N/N (rw)",
        ),
        (
            f"{AT} ERROR   x: [Errno 28] No space left on device: '/a/my secret plan'",
            f"{AT} ERROR   N: [Errno 28] No space left on device: '/N/N'",
        ),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        (
            '  File "/x/lib/python3.11/site-packages/tierfs/cli/main.py", line 3, in main',
            '  File "tierfs/cli/main.py", line 3, in main',
        ),
        ('  File "/home/secret/run.py", line 3, in main', '  File "/N/N/N", line 3, in main'),
        ("    code = tierfs.main(arguments, prog_name", "N"),
        (
            "OSError: [Errno 2] No such file or directory: 'secret'",
            "OSError: [Errno 2] No such file or directory: 'N'",
        ),
        ("secret", "N"),
        ("the secret that somebody else printed", "N"),
        ("1.5GiB of 2GiB free", "1.5GiB of 2GiB free"),
        ("6.1.0-18-amd64", "6.1.0-18-amd64"),
        ("/sys/module/fuse/parameters/enable_uring", "/sys/module/fuse/parameters/enable_uring"),
        ("rw,relatime,user_id=0,lowerdir=secret", "rw,relatime,user_id=0,N"),
    ],
)
def test_a_line(redactor: Redactor, line: str, shown: str) -> None:
    assert re.sub(r"n-[0-9a-f]{8}", "N", next(redactor.log([line])).strip()) == shown.strip()


def test_a_line_of_the_code_is_kept(redactor: Redactor) -> None:
    line = '    code = tierfs.main(arguments, prog_name="tierfs", standalone_mode=False)'
    assert [*redactor.log([line])] == [line]


def test_a_record_in_json(redactor: Redactor, hidden: str) -> None:
    record = {"time": AT, "level": "INFO", "message": "/secret is mounted on /secret (rw)"}
    (line,) = redactor.log([json.dumps(record)])
    assert json.loads(line)["message"] == f"/{hidden} is mounted on /{hidden} (rw)"


def test_names_in_settings_are_hidden_even_where_they_are_known_words(redactor: Redactor) -> None:
    rule = {"name": "mounted", "match": {"path": "/flash/**"}, "head": "none", "secret": "x"}
    shown = redactor.settings({"version": "1", "rules": [rule]})
    assert shown["version"] == "1"
    (made,) = shown["rules"]
    assert made["head"] == "none"
    assert "mounted" not in json.dumps(shown)
    assert "secret" not in json.dumps(shown)
    assert "/flash" not in json.dumps(shown)


def test_the_same_name_is_hidden_alike_in_one_bundle_only(redactor: Redactor, hidden: str) -> None:
    assert redactor.path("/secret/x").split("/")[1] == hidden
    assert Redactor(with_names=False).name("secret") != hidden


def test_names_are_kept_where_that_is_asked_for() -> None:
    redactor = Redactor(with_names=True)
    assert redactor.text("/secret/x failed") == "/secret/x failed"
    assert [*redactor.log(["secret"])] == ["secret"]
    assert redactor.settings({"secret": ["/secret"]}) == {"secret": ["/secret"]}
