"""A copy of an index takes no more memory than it is given, however much is changed meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.metadata.rows import inode
from tests.support.proc import REPOSITORY, run
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.metadata.index import Index

INODES = 120_000
MEMORY = 1 << 20
ALLOWED = 4 << 20
"""Also for what SQLite and Python take themselves. The rows of the inodes take 11 MiB."""

COPY = """
import sys
from pathlib import Path
from tierfs.metadata.copying import copy_index, empty_index

def most():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024

source, target, memory, after = sys.argv[1:]
empty_index(Path(target + ".warm"))
before = most()
copy_index(Path(source), Path(target), int(memory), after=int(after))
print(most() - before)
"""


def test_changes_beside_a_copy_take_no_memory(tmp_path: Path) -> None:
    path, target = tmp_path / "index.db", tmp_path / "copy.db"
    path.touch()
    index = Index(path, SYSTEM, Metrics())
    with index.transaction():
        for ino in range(20, 20 + INODES):
            index.inodes.insert(inode(ino, size=1000))
    after = index.feed.register("test")
    with index.transaction():
        for ino in range(20, 20 + INODES):
            index.inodes.change(index.inodes.get(ino), mode=0o100600)
    index.close()
    words = [sys.executable, "-c", COPY, path, target, MEMORY, after]
    said = run([str(word) for word in words], cwd=REPOSITORY, timeout=60)
    assert int(said.stdout) < ALLOWED
