"""Copy a tree as a user would, with ``cp -a``, and count its bytes while it works."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import IO

from tierfs.base.errors import TierfsError
from tierfs.demo.trees import Tree
from tierfs.demo.ui import Advance

LOOK_EVERY_S = 0.2
PATIENCE_S = 5.0


def copy_tree(tree: Tree, target: Path, advance: Advance) -> None:
    """``cp -a`` the entries of ``tree`` into the directory ``target``, which is made.

    Raises TierfsError with what cp said when it fails, OSError when ``target`` cannot be made.
    """
    target.mkdir()
    command = ["cp", "-a", "--target-directory", str(target), "--", *tree.entries]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=tree.root, stderr=errors)
        try:
            _follow(process, advance)
        except BaseException:
            _stop(process)
            raise
        if process.returncode:
            raise TierfsError(f"cp -a failed: {_last_lines(errors)}")


def _follow(process: subprocess.Popen[bytes], advance: Advance) -> None:
    seen = 0
    while True:
        now = max(seen, bytes_read(process.pid))
        advance(now - seen)
        seen = now
        try:
            process.wait(LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            continue
        return


def bytes_read(pid: int) -> int:
    """Bytes that a process has read so far (proc(5), ``rchar``); 0 when nobody can say."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("rchar:")), 0)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End cp. One that hangs in the kernel is left: unmounting, which comes next, frees it."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _last_lines(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode("utf-8", "backslashreplace").splitlines()
    return "\n".join(lines[-5:]) or "it said nothing"
