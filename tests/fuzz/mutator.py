"""Byte strings that are nearly right, in an order that a seed decides."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

LONG: Final = "TIERFS_FUZZ_SECONDS"

SECONDS: Final = float(os.environ.get(LONG, "1"))
"""How long each reader is tried."""

SEED: Final = int(
    os.environ.get("TIERFS_SEED", str(random.randrange(2**32)) if LONG in os.environ else "1")
)
"""Always the same where a change is tested, so that what it did not cause does not fail it."""

LARGEST: Final = 256 * 1024

PIECES: Final = (
    b"\0",
    b"\n",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x1b[2J",
    b"[" * 20_000,
    b'{"a":' * 10_000,
    b"- " * 2_000,
    b"9" * 5_000,
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"\\ud800",
    b"18446744073709551616",
    b"../../etc/passwd",
    bytes(range(256)),
)


def mutations(corpus: Sequence[bytes], *, seconds: float = SECONDS) -> Iterator[bytes]:
    """The corpus itself, then variants of it until the time is up."""
    yield from corpus
    chance = random.Random(SEED)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            _change(data, chance, corpus)
        yield bytes(data[:LARGEST])


def _change(data: bytearray, chance: random.Random, corpus: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    length = chance.choice((1, 2, 4, 8, 64))
    match chance.randrange(7):
        case 0 if data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        case 1:
            del data[at : at + length]
        case 2:
            data[at:at] = data[at : at + length] * chance.choice((1, 2, 100))
        case 3:
            data[at : at + chance.choice((0, length))] = chance.choice(PIECES)
        case 4:
            data[at : at + length] = chance.randbytes(length)
        case 5:
            del data[at:]
        case _:
            other = chance.choice(corpus)
            data[at:] = other[chance.randrange(len(other) + 1) :]
