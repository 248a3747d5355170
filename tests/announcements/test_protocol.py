"""What a job may say, and what is refused."""

from __future__ import annotations

import json

import pytest

from tests.fuzz.mutator import mutations
from tierfs.announcements.protocol import (
    Greeting,
    Measured,
    ProtocolError,
    Said,
    parse,
    parse_greeting,
)


def line(**said: object) -> bytes:
    return json.dumps(said).encode()


def test_a_greeting() -> None:
    assert parse_greeting(line(tierfs=1, job="a", rank=3)) == Greeting("a", 3)
    assert parse_greeting(line(tierfs=1)) == Greeting("", 0)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"tierfs": 2},
        {"tierfs": 1, "rank": -1},
        {"tierfs": 1, "rank": True},
        {"tierfs": 1, "job": "x" * 129},
        {"tierfs": 1, "job": 4},
    ],
)
def test_no_greeting(said: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        parse_greeting(line(**said))


def test_first_reads() -> None:
    rows = [[".jpg", 4096, 100], ["", 0, 2**62]]
    found = parse_greeting(line(tierfs=1, first_reads=rows))
    assert found == Measured(((".jpg", 4096, 100), ("", 0, 2**62)))
    assert parse_greeting(line(tierfs=1, first_reads=[])) == Measured(())


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        "a",
        [[]],
        [".jpg"],
        [[".jpg", 1]],
        [[".jpg", 1, 2, 3]],
        [[".jpg", -1, 2]],
        [[".jpg", 1, True]],
        [[".jpg", 1.5, 2]],
        [[".jpg", 1, 2**63]],
        [[None, 1, 2]],
        [["." + "x" * 16, 1, 2]],
    ],
)
def test_no_first_reads(rows: object) -> None:
    with pytest.raises(ProtocolError):
        parse_greeting(line(tierfs=1, first_reads=rows))


def test_any_bytes_are_a_greeting_or_refused() -> None:
    good = [line(tierfs=1, first_reads=[[".jpg", 4096, 100]]), line(tierfs=1, job="a", rank=3)]
    for data in mutations(good):
        try:
            parse_greeting(data)
        except ProtocolError:
            continue


def test_a_message() -> None:
    said = parse(line(paths=["a/b", None, "\udcff"], position=4, waited=0.5, last=True))
    assert said == Said(("a/b", None, "\udcff"), 4, 0.5, last=True)
    assert parse(b"{}") == Said((), None, None, last=False)


@pytest.mark.parametrize(
    "said",
    [
        {"paths": "a"},
        {"paths": [""]},
        {"paths": ["a\0b"]},
        {"paths": ["\ud800"]},
        {"paths": ["x" * 4097]},
        {"paths": [7]},
        {"position": -1},
        {"position": 1.5},
        {"position": 2**63},
        {"waited": "long"},
        {"waited": -1},
        {"waited": float("inf")},
        {"waited": float("nan")},
    ],
)
def test_no_message(said: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        parse(line(**said))


@pytest.mark.parametrize("said", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 10_000])
def test_no_object(said: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(said)


def test_any_bytes_are_a_message_or_refused() -> None:
    for data in mutations([line(paths=["a/b", None], position=4, waited=0.5, last=True)]):
        try:
            parse(data)
        except ProtocolError:
            continue
