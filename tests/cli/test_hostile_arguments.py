"""Whatever an argument names, each verb says in a line or two what is wrong with it, and ends."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_exit_codes import WITHOUT_A_MOUNT, WITHOUT_A_VOLUME_FILE
from tierfs.cli.main import main
from tierfs.cli.messages import TOLD
from tierfs.common.errors import ExitCode

PATIENCE = 20
"""Seconds after which a verb counts as hanging."""

HOSTILE: dict[str, Callable[[Path], object]] = {
    "directory": Path.mkdir,
    "empty": Path.touch,
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 20),
    "words": lambda path: path.write_text("these are just words\n"),
    "list": lambda path: path.write_text("- version: 1\n- flash: here\n"),
    "two documents": lambda path: path.write_text("version: 1\n---\nversion: 1\n"),
    "deep": lambda path: path.write_text("[" * 5000),
    "aliases": lambda path: path.write_text("version: &v 1\nflash: *v\ndisk: *none\n"),
    "tag": lambda path: path.write_text("!!python/object/apply:os.system ['true']\n"),
    "a typo": lambda path: path.write_text("version: 1\nflsh: /a\ndisk: /b\n"),
    "fifo": os.mkfifo,
    "loop": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "control characters": lambda path: path.write_text("version: 1\nfla\x1b[31msh: /a\x07\n"),
}
"""What an argument names, and how that is made."""

EACH_KIND = {"fsck", "mount", "policy check", "status", "where", "doctor"}
"""Verbs that are tried with everything; the others, which read files likewise, with some."""
SOME = {"directory", "binary", "a typo", "fifo", "loop"}

OTHERS = {
    "mount": "HOSTILE DIR",
    "mount --all": "--fstab HOSTILE",
    "init": "NEW --flash HOSTILE --disk DIR",
    "policy check": "HOSTILE",
    "policy explain": "--policy HOSTILE FILE",
    "policy replay": "HOSTILE --policy POLICY --flash 1GiB",
    "completion": "HOSTILE",
    "man": "HOSTILE",
    "doctor": "HOSTILE",
    "bench": "HOSTILE --files 1 --repeat 1",
}
"""Verbs of neither table, and what they are given."""

LEAVE_LINKS = (
    *("where", "pin", "unpin", "promote", "demote", "warm"),
    *("tag set", "tag get", "tag remove", "tag list"),
)
NOT_HOSTILE = {
    *(("debug-bundle", what) for what in SOME - {"directory", "fifo", "loop"}),  # it is packed
    *(("mount --all", what) for what in SOME - {"directory", "loop"}),  # no line is of tierfs
    *((verb, "loop") for verb in LEAVE_LINKS),
    ("man", "directory"),
    ("bench", "directory"),
    ("init", "directory"),
}
"""What is right after all."""


def cases() -> Iterator[tuple[str, str, str]]:
    """Each verb with its words, of which one is hostile, and how."""
    tables = {
        **{
            verb: re.sub(r"\b(DIR|FILE)\b", "HOSTILE", words, count=1)
            for verb, words in WITHOUT_A_MOUNT.items()
        },
        **{
            verb: words.replace("NEW", "HOSTILE", 1)
            for verb, words in WITHOUT_A_VOLUME_FILE.items()
        },
        **OTHERS,
    }
    for verb, words in tables.items():
        for what in HOSTILE if verb in EACH_KIND else sorted(SOME):
            if (verb, what) not in NOT_HOSTILE:
                yield verb, words, what


@contextmanager
def patience() -> Iterator[None]:
    """AssertionError after `PATIENCE` seconds, wherever the program waits."""

    def over(_number: int, _frame: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("verb", "words", "what"), list(cases()))
def test_a_hostile_argument_is_refused_with_a_reason(
    verb: str, words: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    HOSTILE[what](tmp_path / "HOSTILE")
    for name in ("DIR", "OTHER"):
        (tmp_path / name).mkdir()
    (tmp_path / "FILE").write_text("x")
    (tmp_path / "POLICY").write_text("version: 1\n")
    places = {"DIR", "OTHER", "FILE", "NEW", "POLICY", "HOSTILE"}
    given = [os.fspath(tmp_path / word) if word in places else word for word in words.split()]
    with patience():
        code = main([*verb.split(), *given])
    said = capsys.readouterr()
    assert code in set(ExitCode) - {ExitCode.OK}
    assert "bug in tierfs" not in said.err
    assert "Traceback" not in said.err + said.out
    assert "\x1b" not in said.err + said.out
    wrong = said.err or "".join(re.findall(r"ERROR .*\n", said.out))  # of `tierfs doctor`
    assert 0 < wrong.count("\n") <= TOLD + 2
