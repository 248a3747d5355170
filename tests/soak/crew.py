"""Threads that write, cut, rename, remove and read files of their own, and know every byte."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Final

from tests.support.mounting import HEAD

SIZES: Final = (0, 100, 4096, HEAD - 1, HEAD, HEAD + 1, 2 * HEAD, 300_000, 1 << 20)
PIECE: Final = 48 * 1024
"""Bytes of a write at most."""


class Model:
    """The files of one writer as they must be."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.files: dict[str, bytearray] = {}
        self._made = 0

    def new_name(self) -> str:
        """A name that was never used."""
        self._made += 1
        return f"file-{self._made}"

    def any_name(self) -> str:
        """One of the files."""
        return self.random.choice(sorted(self.files))

    def piece(self) -> bytes:
        """Bytes to write."""
        return self.random.randbytes(self.random.randint(1, PIECE))


class Writer(threading.Thread):
    """Works in a directory of its own until told to stop; ``error`` says what was wrong."""

    def __init__(self, directory: Path, seed: int, files: int) -> None:
        super().__init__(daemon=True, name=f"writer {seed}")
        self.directory = directory
        self.model = Model(seed)
        self.error: BaseException | None = None
        self.steps = 0
        self._most = files
        self._over = threading.Event()
        directory.mkdir()

    def stop(self) -> None:
        """End after the present step."""
        self._over.set()

    def run(self) -> None:
        """Step after step."""
        try:
            while not self._over.is_set():
                self.step()
                self.steps += 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def step(self) -> None:
        """One change or one verified read."""
        model = self.model
        if len(model.files) < self._most // 2:
            self.create()
            return
        weights = {
            self.create: 15 if len(model.files) < self._most else 0,
            self.overwrite: 20,
            self.append: 15,
            self.cut: 8,
            self.rename: 6,
            self.remove: 10,
            self.verify: 40,
        }
        model.random.choices(list(weights), list(weights.values()))[0]()

    def create(self) -> None:
        name = self.model.new_name()
        data = bytearray(self.model.random.randbytes(self.model.random.choice(SIZES)))
        (self.directory / name).write_bytes(data)
        self.model.files[name] = data

    def overwrite(self) -> None:
        name, piece = self.model.any_name(), self.model.piece()
        data = self.model.files[name]
        at = self.model.random.randint(0, len(data))
        with (self.directory / name).open("r+b", buffering=0) as file:
            assert os.pwrite(file.fileno(), piece, at) == len(piece)
            if self.model.random.random() < 0.2:
                os.fsync(file.fileno())
        data[at : at + len(piece)] = piece

    def append(self) -> None:
        name, piece = self.model.any_name(), self.model.piece()
        with (self.directory / name).open("ab", buffering=0) as file:
            assert file.write(piece) == len(piece)
        self.model.files[name] += piece

    def cut(self) -> None:
        name = self.model.any_name()
        data = self.model.files[name]
        size = self.model.random.randint(0, len(data) + 5000)
        os.truncate(self.directory / name, size)
        del data[size:]
        data.extend(bytes(size - len(data)))

    def rename(self) -> None:
        old, new = self.model.any_name(), self.model.new_name()
        (self.directory / old).rename(self.directory / new)
        self.model.files[new] = self.model.files.pop(old)

    def remove(self) -> None:
        name = self.model.any_name()
        (self.directory / name).unlink()
        del self.model.files[name]

    def verify(self) -> None:
        """Read a file, past the kernel's cache half of the times, and compare."""
        name = self.model.any_name()
        with (self.directory / name).open("rb", buffering=0) as file:
            if self.model.random.random() < 0.5:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self.compare(name, file.readall() or b"")

    def verify_all(self) -> None:
        """Read every file; AssertionError when names or bytes differ."""
        assert set(os.listdir(self.directory)) == set(self.model.files)
        for name in self.model.files:
            self.compare(name, (self.directory / name).read_bytes())

    def compare(self, name: str, found: bytes) -> None:
        expected = self.model.files[name]
        if found == expected:
            return
        at = next(
            (i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]),
            min(len(found), len(expected)),
        )
        message = f"{self.directory.name}/{name}: {len(found)} bytes for {len(expected)}; byte {at}"
        raise AssertionError(message)
