"""``tierfs policy explain``: which rule applies to a file, and why.

With --policy by the facts that the file itself has (`local_facts`); else the mount that the file is
on is asked, which explains by its policy in force and what it knows (`explained`).
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import click

from tierfs.cli.command import DURATION, PATH, Command
from tierfs.cli.messages import WAITS, aligned
from tierfs.common.errors import UsageError, printable
from tierfs.common.units import SECOND, format_duration, format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import mount_above
from tierfs.metadata.inodes import Inode
from tierfs.policy.match import Facts
from tierfs.policy.model import explain, explanation_record
from tierfs.policy.tier_policy import load_policy

Found: TypeAlias = tuple[bytes, dict[str, Any]]
"""A path and the record of its explanation."""

NOT_KNOWN: Final = "open: the mount does not know how the file was read, so the rule is skipped"
OPEN_NOTE: Final = (
    "open: how often and when a file was read is not known here, so the rule is skipped; "
    "--idle and --reads assume it"
)

EXAMPLES = """
tierfs policy explain /mnt/images/screens/2026-07/plate1.tif
tierfs policy explain --policy policy.yaml /mnt/images/screens/2026-07/plate1.tif
tierfs policy explain --policy policy.yaml --idle 40d --json /mnt/images/old/*.tif
tierfs policy explain --policy policy.yaml --root /data/images /data/images/a.tif
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="explain",
    short_help="Show which rule applies to a file, and why.",
)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=bytes)
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=PATH,
    help="The policy.  [default: that of the mount that the file is on]",
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True, path_type=bytes),
    help="Where the policy's paths start.  [default: the tierfs mount of the file, else /]",
)
@click.option(
    "--idle", type=DURATION, metavar="TIME", help="Assume that it was last read this long ago."
)
@click.option("--reads", type=click.IntRange(0), metavar="N", help="Assume this many recent reads.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list; bytes and seconds.")
def command(
    paths: tuple[bytes, ...],
    *,
    policy_file: Path | None,
    root: bytes | None,
    idle: int | None,
    reads: int | None,
    as_json: bool,
) -> None:
    """Show which rule of a policy applies to each file, why those before it do not, and the result.

    Without --policy it is the policy in force of the mount that the file is on; the mount adds what
    it knows: how the file was read, pins, and what is on flash. With --policy the file can be on a
    mount or elsewhere; the facts are those of the file itself.
    """
    failures: list[str] = []
    found: list[Found] = []
    if policy_file is not None:
        policy = load_policy(policy_file)
        for path in paths:
            with _noted(path, failures):
                facts = local_facts(path, root, Assumed(idle, reads))
                found.append((path, explanation_record(explain(policy, facts))))
    elif root is not None or idle is not None or reads is not None:
        raise UsageError("--root, --idle and --reads need --policy")
    else:
        found += _by_mount(paths, failures)
    if as_json:
        shown = [
            {"path": os.fsdecode(path), **{key: record[key] for key in record if key != "lines"}}
            for path, record in found
        ]
        click.echo(json.dumps(shown, indent=2))
    elif found:
        click.echo(_text(found))
    if failures:
        raise UsageError.of_lines(failures)


def _by_mount(paths: Sequence[bytes], failures: list[str]) -> Iterator[Found]:
    located: dict[bytes, Located] = {}
    for path in paths:
        with _noted(path, failures):
            located[path] = locate(path)
    answers = explained(located.values())
    for path, file in located.items():
        if file in answers:
            yield path, answers[file]
        else:
            failures.append(f"{os.fsdecode(path)}: was removed meanwhile")


@contextmanager
def _noted(path: bytes, failures: list[str]) -> Iterator[None]:
    """The problem of one file is printed at the end."""
    try:
        yield
    except OSError as error:
        failures.append(f"{os.fsdecode(path)}: {error.strerror}; check the name")
    except UsageError as error:
        failures.append(str(error))


def _text(found: list[Found]) -> str:
    shown = [line for path, record in found for line in _lines(path, record)]
    if any(rule["verdict"] == "open" for _, record in found for rule in record["rules"]):
        shown += ["", NOT_KNOWN if "why" in found[0][1] else OPEN_NOTE]
    return "\n".join(shown)


def _lines(path: bytes, record: dict[str, Any]) -> Iterator[str]:
    yield printable(os.fsdecode(path))
    rows = [*record["lines"], *(mount_lines(record) if "why" in record else ())]
    yield from map(printable, aligned([(f"  {name}", value) for name, value in rows]))


# ------------------------------------------------------------------ by the file itself

_NO_VALUE = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Assumed:
    """Facts that the file itself does not have; None: nothing is assumed.

    ``idle`` in nanoseconds; ``reads`` is the number within any time. (The access time of a file is
    of no use: mounts commonly do not keep it, or only roughly.)
    """

    idle: int | None
    reads: int | None


def local_facts(path: bytes, root: bytes | None, assumed: Assumed) -> Facts:
    """The facts of the regular file ``path``; its name in the policy starts from ``root``.

    Raises:
        UsageError: it is not a regular file, or not below ``root``.
        OSError: its attributes cannot be read.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{os.fsdecode(path)}: not a regular file; policies apply to those only")
    directory, name = os.path.split(path)
    # The directory without symbolic links; the file itself is none.
    real = os.path.realpath(directory or b".").rstrip(b"/") + b"/" + name
    name = _below(real, os.path.realpath(root) if root else _root_of(real))
    now = time.time_ns()
    return Facts(
        now=now,
        row=Inode(
            ino=status.st_ino,
            mode=status.st_mode,
            uid=status.st_uid,
            gid=status.st_gid,
            nlink=status.st_nlink,
            size=status.st_size,
            rdev=0,
            atime=status.st_atime_ns,
            mtime=status.st_mtime_ns,
            ctime=status.st_ctime_ns,
            prefix=0,
            version=0,
            parent=0,
            target=None,
            sparse=0,
            mirrored=0,
        ),
        last_read=None if assumed.idle is None else now - assumed.idle,
        find_paths=lambda: [name],
        find_xattr=lambda attribute: _xattr(path, attribute),
        count_reads=lambda _within: assumed.reads,
    )


def _root_of(real: bytes) -> bytes:
    """The mountpoint that a path on a tierfs mount starts from; elsewhere the root directory."""
    mount = mount_above(Path(os.fsdecode(real)))
    return bytes(mount.path) if mount is not None and mount.is_tierfs else b"/"


def _below(real: bytes, root: bytes) -> bytes:
    if root == b"/":
        return real
    if not real.startswith(root + b"/"):
        names = os.fsdecode(real), os.fsdecode(root)
        raise UsageError("{}: not below {}; name another --root".format(*names))
    return real.removeprefix(root)


def _xattr(path: bytes, name: bytes) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_VALUE:
            return None
        raise


# ------------------------------------------------------------------ by the mount

AT_ONCE: Final = 1000
"""Files in one request: the length of a request is limited."""

_BECAUSE: Final = {
    "by hand": "requested by hand",
    "pin by hand": "pinned by hand, whatever the rule says; see tierfs unpin",
    "pin": "the rule pins it",
    "promote": "it was read often enough to be promoted",
}


class Located(NamedTuple):
    """A file on a tierfs mount."""

    mountpoint: Path
    ino: int


def locate(path: bytes) -> Located:
    """Where to ask about the regular file ``path``.

    Raises:
        UsageError: it is not a regular file, or not on a tierfs mount.
        OSError: its attributes cannot be read.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{os.fsdecode(path)}: not a regular file; policies apply to those only")
    mount = mount_above(Path(os.fsdecode(os.path.realpath(path))))
    if mount is None or not mount.is_tierfs:
        raise UsageError(f"{os.fsdecode(path)}: not on a tierfs mount; name a policy with --policy")
    return Located(mount.path, status.st_ino)


def explained(files: Iterable[Located]) -> dict[Located, dict[str, Any]]:
    """The answers of the mounts for each file; one that is gone meanwhile is left out.

    Raises:
        NotMounted: a mount does not answer, or not to this user.
        UsageError: it has no policy.
    """
    by_mount: dict[Path, list[int]] = {}
    for file in files:
        by_mount.setdefault(file.mountpoint, []).append(file.ino)
    return {
        Located(mountpoint, int(ino)): found
        for mountpoint, inos in by_mount.items()
        for start in range(0, len(inos), AT_ONCE)
        for ino, found in _answer(mountpoint, inos[start : start + AT_ONCE]).items()
    }


def mount_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a mount knows of the file, and the target placement, name and value."""
    yield "reads", _reads(found)
    where = f"{format_size(found['on_flash'])} of {format_size(found['size'])}"
    yield "on flash", where + (", copied to disk as well" if found["mirrored"] else "")
    because = _BECAUSE.get(found["why"])
    if found.get("pinned_by"):
        because = f"the directory {printable(found['pinned_by'])} pins it; see tierfs unpin -r"
    prefix = found["wanted"]
    if isinstance(prefix, str):
        wanted = "all of it"
    else:
        wanted = f"at least its first {format_size(prefix)}" if prefix else "nothing"
    yield "wanted there", wanted + (f": {because}" if because else "")
    if found.get("waits"):
        yield (
            "not yet",
            WAITS[found["waits"]] + ("; no file may leave flash for it" * found["stuck"]),
        )


def _answer(mountpoint: Path, inos: list[int]) -> dict[str, Any]:
    files: dict[str, Any] | None = ask(mountpoint, "policy explain", inos=inos)["files"]
    if files is None:
        raise UsageError(f"{mountpoint}: the mount has no policy; name one with --policy")
    return files


def _reads(found: dict[str, Any]) -> str:
    if found["reads"] is None:
        return "none known"
    last = ""
    if found["last_read"] is not None:
        ago = max(0.0, time.time() - found["last_read"])
        last = f", the last {format_duration(int(ago * SECOND))} ago"
    return f"{found['reads']:g} recent requests{last}"
