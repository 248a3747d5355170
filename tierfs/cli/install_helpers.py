"""``tierfs install-helpers``: the programs /sbin/mount.TYPE, which mount(8) and fstab(5) call."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

import tierfs
from tierfs.cli.command import Command
from tierfs.common.errors import TierfsError, UsageError
from tierfs.common.text import printable
from tierfs.common.trust import exposed
from tierfs.daemon.interpreter import module_command

SBIN: Final = Path("/sbin")
NAMES: Final = ("mount.tierfs", "mount.fuse.tierfs")
"""mount(8) looks for the type of the command line, and for that of the kernel's mount table."""
SIGNATURE: Final = (
    "# Written by `tierfs install-helpers`; `tierfs install-helpers --remove` deletes it."
)
MODE: Final = 0o755

EXAMPLES = """
sudo tierfs install-helpers
sudo mount -t tierfs /etc/tierfs/images.yaml /mnt/images -o noatime
# A line of /etc/fstab:
/etc/tierfs/images.yaml  /mnt/images  tierfs  noatime,nofail,_netdev  0  0
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="install-helpers",
    short_help="Make `mount -t tierfs` and fstab lines work.",
)
@click.option("--remove", is_flag=True, help="Remove the helpers.")
@click.option(
    "--sbin",
    type=click.Path(file_okay=False, path_type=Path),
    default=SBIN,
    show_default=True,
    metavar="DIR",
    help="Where mount(8) looks for helpers.",
)
def command(*, remove: bool, sbin: Path) -> None:
    """Install the helper programs through which mount(8) and fstab(5) reach tierfs, as root."""
    changed = remove_helpers(sbin) if remove else write_helpers(sbin)
    for path in changed:
        click.echo(f"{'removed' if remove else 'wrote'} {printable(path)}")
    if not changed:
        click.echo("nothing to remove" if remove else "already in place")


def write_helpers(directory: Path = SBIN) -> list[Path]:
    """Write the helpers into ``directory``; returns those that were missing or different.

    Raises:
        UsageError: a file of that name is not tierfs's, or others can change what root would run.
        TierfsError: the directory cannot be written.
    """
    _require_trusted()
    paths = _ours(directory)
    stale = [path for path in paths if _content(path) != script()]
    for path in stale:
        _write(path, script())
    return stale


def remove_helpers(directory: Path = SBIN) -> list[Path]:
    """Delete the helpers from ``directory``; returns those that were there.

    Raises:
        UsageError: a file of that name is not tierfs's.
        TierfsError: a file cannot be deleted.
    """
    present = [path for path in _ours(directory) if _content(path) is not None]
    for path in present:
        try:
            path.unlink()
        except OSError as error:
            raise _cannot("deleted", path, error) from error
    return present


def script() -> str:
    """The helper: it runs the Python and the tierfs that run now.

    Where they are gone it says so, with the exit codes of mount(8): 0 with ``nofail``, else 32.
    """
    return f"""\
#!/bin/sh
{SIGNATURE}
for needed in {shlex.join(map(os.fspath, _needed()))}; do
    [ -e "$needed" ] && continue
    echo "${{0##*/}}: $needed is gone: install tierfs again, then: tierfs install-helpers" >&2
    echo "${{0##*/}}: or, to do without: rm $0" >&2
    before=
    for word; do
        [ "$before" = -o ] && case ",$word," in *,nofail,*) exit 0 ;; esac
        before=$word
    done
    exit 32
done
exec {shlex.join(module_command("tierfs.cli.mount_helper"))} "$@"
"""


def _needed() -> list[Path]:
    """The program and the module that the helper runs."""
    return [Path(sys.executable), Path(tierfs.__path__[0], "cli", "mount_helper.py")]


def _require_trusted() -> None:
    """Refuse to let root run what other users can change: the interpreter, and all its modules.

    Raises:
        UsageError: with what to do.
    """
    if os.geteuid() != 0:
        return
    # With -P the first entry, the directory of the script or the present one, is not looked in.
    searched = sys.path if sys.flags.safe_path else sys.path[1:]
    package = Path(tierfs.__path__[0])
    places = [
        *_needed(),
        Path(sys.prefix, "pyvenv.cfg"),
        package,
        *map(Path, filter(None, searched)),
    ]
    for place in (*places, *package.rglob("*")):
        found = exposed(place)
        if found is not None:
            raise UsageError(
                f"{found.path} {found.how}, and root runs what is in {place} when it mounts: "
                f"{found.remedy}, or install tierfs where only root can write, such as: "
                "python3 -m venv /opt/tierfs && /opt/tierfs/bin/pip install tierfs && "
                "/opt/tierfs/bin/tierfs install-helpers"
            )


def _ours(directory: Path) -> list[Path]:
    """The helpers' paths, none of which is a foreign file."""
    paths = [directory / name for name in NAMES]
    for path in paths:
        found = _content(path)
        if found is not None and SIGNATURE not in found:
            raise UsageError(f"{path} was not made by tierfs; move it away first")
    return paths


def _content(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from error


def _write(path: Path, text: str) -> None:
    """Replace ``path`` in one step: mount(8) may run it at any moment."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _cannot("written", path, error) from error
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).chmod(MODE)
        Path(temporary).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        raise _cannot("written", path, error) from error


def _cannot(done: str, path: Path, error: OSError) -> TierfsError:
    hint = "; try it with sudo" if isinstance(error, PermissionError) else ""
    return TierfsError(f"{path} cannot be {done}: {error.strerror}{hint}")
