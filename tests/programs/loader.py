"""A program that reads files with several worker processes, as a training job's data loader does.

`loader.py WORKERS EPOCHS < NAMES` prints, for each epoch, one digest over all files in the order
of their names. Each epoch shuffles the files; each worker reads whole files, heads only, and
through memory maps.
"""

from __future__ import annotations

import hashlib
import mmap
import multiprocessing
import random
import sys
from pathlib import Path

PEEK = 4096
"""Bytes that a loader reads first, to learn an image's format."""


def read_one(name: str) -> tuple[str, str]:
    """Read one file three ways; ValueError if they differ."""
    data = Path(name).read_bytes()
    with Path(name).open("rb") as file:
        if file.read(PEEK) != data[:PEEK]:
            message = f"{name}: the head differs"
            raise ValueError(message)
        if data and mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:] != data:
            message = f"{name}: the map differs"
            raise ValueError(message)
    return name, hashlib.sha256(data).hexdigest()


def main() -> None:
    """Read what standard input names, and print a digest for each epoch."""
    workers, epochs = map(int, sys.argv[1:3])
    names = sys.stdin.read().splitlines()
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for epoch in range(epochs):
            order = random.Random(epoch).sample(names, len(names))
            digests = sorted(pool.imap_unordered(read_one, order, chunksize=4))
            sys.stdout.write(hashlib.sha256(repr(digests).encode()).hexdigest() + "\n")


if __name__ == "__main__":
    main()
