"""``tierfs install-helpers``: what lets mount(8), fstab(5) and systemd start tierfs.

The programs /sbin/mount.TYPE are for mount(8) and fstab(5), the unit ``tierfs@.service`` for
systemd. All run the Python and the tierfs that wrote them.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

import tierfs
from tierfs.cli.command import Command, may_be_quiet
from tierfs.common.errors import TierfsError, UsageError, printable
from tierfs.common.trust import exposed
from tierfs.daemon.interpreter import module_command

SBIN: Final = Path("/sbin")
UNITS: Final = Path("/etc/systemd/system")
UNIT: Final = "tierfs@.service"
NAMES: Final = ("mount.tierfs", "mount.fuse.tierfs")
"""mount(8) looks for the type of the command line, and for that of the kernel's mount table."""
SIGNATURE: Final = (
    "# Written by `tierfs install-helpers`; `tierfs install-helpers --remove` deletes it."
)

EXAMPLES = """
sudo tierfs install-helpers
sudo mount -t tierfs /etc/tierfs/images.yaml /mnt/images -o noatime
# A line of /etc/fstab:
/etc/tierfs/images.yaml  /mnt/images  tierfs  noatime,nofail,_netdev  0  0
# Or a service for /etc/tierfs/images.yaml on /mnt/images:
sudo systemctl enable --now tierfs@images
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="install-helpers",
    short_help="Make `mount -t tierfs`, fstab lines and systemd services work.",
)
@click.option("--remove", is_flag=True, help="Remove what was installed.")
@click.option(
    "--sbin",
    type=click.Path(file_okay=False, path_type=Path),
    default=SBIN,
    show_default=True,
    metavar="DIR",
    help="Where mount(8) looks for helpers.",
)
@click.option(
    "--units",
    type=click.Path(file_okay=False, path_type=Path),
    default=UNITS,
    show_default=True,
    metavar="DIR",
    help="Where systemd looks for units; a directory that is not there is left out.",
)
@may_be_quiet
def command(*, remove: bool, sbin: Path, units: Path) -> None:
    """Install what lets mount(8), fstab(5) and systemd start tierfs, as root.

    Two helper programs for mount(8), and the unit tierfs@.service: tierfs@images mounts
    /etc/tierfs/images.yaml on /mnt/images.
    """
    changed = remove_helpers(sbin, units) if remove else write_helpers(sbin, units)
    for path in changed:
        click.echo(f"{'removed' if remove else 'wrote'} {printable(path)}")
    if not changed:
        click.echo("nothing to remove" if remove else "already in place")
    elif units / UNIT in changed:
        click.echo("systemd reads units again after: systemctl daemon-reload")


def write_helpers(sbin: Path = SBIN, units: Path = UNITS) -> list[Path]:
    """Write the helpers into ``sbin``, the unit into ``units``; returns what was not there so.

    Raises:
        UsageError: a file of that name is not tierfs's, or others can change what root would run.
        TierfsError: a directory cannot be written.
    """
    _require_trusted()
    wanted = {sbin / name: (script(), 0o755) for name in NAMES}
    if units.is_dir():
        wanted[units / UNIT] = (unit(), 0o644)
    stale = [path for path in _ours(wanted) if _content(path) != wanted[path][0]]
    for path in stale:
        _write(path, *wanted[path])
    return stale


def remove_helpers(sbin: Path = SBIN, units: Path = UNITS) -> list[Path]:
    """Delete the helpers from ``sbin`` and the unit from ``units``; returns what was there.

    Raises:
        UsageError: a file of that name is not tierfs's.
        TierfsError: a file cannot be deleted.
    """
    paths = [*(sbin / name for name in NAMES), units / UNIT]
    present = [path for path in _ours(paths) if _content(path) is not None]
    for path in present:
        try:
            path.unlink()
        except OSError as error:
            raise _cannot("deleted", path, error) from error
    return present


def unit() -> str:
    """The systemd unit of a volume, see systemd.unit(5) and systemd.service(5).

    It has no sandbox of its own mount namespace (``ProtectSystem=``, ``PrivateTmp=`` and the
    like): what is mounted in one is not seen outside.
    """
    start = shlex.join([*module_command("tierfs"), "mount", "--foreground"])
    apply = shlex.join([*module_command("tierfs"), "policy", "apply"])
    return f"""\
{SIGNATURE}
# tierfs@NAME mounts /etc/tierfs/NAME.yaml on /mnt/NAME. Another mountpoint, other options, and
# the directories that must be mounted first: systemctl edit tierfs@NAME, with lines such as
#   [Unit]
#   RequiresMountsFor=/nvme/images /raid/images
#   [Service]
#   Environment=MOUNTPOINT=/data OPTIONS=noatime,nosuid
[Unit]
Description=tierfs volume %i
RequiresMountsFor=/etc/tierfs /mnt
After=local-fs.target network.target
Before=remote-fs.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=all
Environment=MOUNTPOINT=/mnt/%i OPTIONS=noatime
ExecStart={start} --options ${{OPTIONS}} /etc/tierfs/%i.yaml ${{MOUNTPOINT}}
ExecReload={apply} ${{MOUNTPOINT}}
# There is no ExecStop=: SIGTERM unmounts. After a crash the mount stays, dead, so that nothing is
# written into the directory below, until the next start replaces it.
KillMode=mixed
Restart=on-failure
RestartSec=1
WatchdogSec=30
TimeoutStartSec=2min
TimeoutStopSec=10min
LimitNOFILE=1048576
OOMScoreAdjust=-500
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
KeyringMode=private

[Install]
WantedBy=multi-user.target
"""


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


def _ours(paths: Iterable[Path]) -> list[Path]:
    """These paths, none of which is a foreign file.

    Raises:
        UsageError: one is.
    """
    found = list(paths)
    for path in found:
        content = _content(path)
        if content is not None and SIGNATURE not in content:
            raise UsageError(f"{path} was not made by tierfs; move it away first")
    return found


def _content(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot("read", path, error) from error


def _write(path: Path, text: str, mode: int) -> None:
    """Replace ``path`` in one step: mount(8) may run it at any moment."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _cannot("written", path, error) from error
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        raise _cannot("written", path, error) from error


def _cannot(done: str, path: Path, error: OSError) -> TierfsError:
    hint = "; try it with sudo" if isinstance(error, PermissionError) else ""
    return TierfsError(f"{path} cannot be {done}: {error.strerror}{hint}")
