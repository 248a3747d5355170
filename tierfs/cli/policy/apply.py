"""``tierfs policy apply``: have mounts read their policy again, now."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tierfs.base.errors import ConfigError, NotMounted, TierfsError, UsageError
from tierfs.base.text import printable
from tierfs.cli.messages import message
from tierfs.cli.verb import PATH, Verb
from tierfs.mount.asking import ask
from tierfs.mount.mountinfo import Mount, mounts

EXAMPLES = """
tierfs policy apply /mnt/images
tierfs policy apply /etc/tierfs/images.yaml
tierfs policy check new.yaml && mv new.yaml policy.yaml && tierfs policy apply
"""


@click.command(
    cls=Verb, epilog=EXAMPLES, name="apply", short_help="Have a mount read its policy again."
)
@click.argument("mounted", metavar="[MOUNTPOINT|VOLUME.yaml]...", nargs=-1, type=PATH)
def command(mounted: tuple[Path, ...]) -> None:
    """Have mounts read the policy that their volume file names; without a name, all of yours.

    Returns when the policy is in force. A wrong policy is refused with everything that is wrong
    with it (exit code 2), and the last good one stays in force. A mount also reads its policy
    when the file is saved, and at SIGHUP; this command says what came of it.
    """
    failures: list[TierfsError] = []
    for mountpoint in _mountpoints(mounted, failures):
        try:
            click.echo(printable(_applied(mountpoint, needed=bool(mounted))))
        except TierfsError as error:
            failures.append(error)
    for failure in failures[:-1]:
        click.echo(message("tierfs", failure), err=True)
    if failures:
        raise failures[-1]


def _mountpoints(given: tuple[Path, ...], failures: list[TierfsError]) -> list[Path]:
    """Where to ask; what cannot be found is added to ``failures``."""
    listed = [mount for mount in mounts() if mount.is_tierfs]
    if not given:
        ours = [mount.path for mount in listed if os.geteuid() in (0, mount.owner)]
        if not ours:
            failures.append(NotMounted("no tierfs mount of yours is there"))
        return ours
    found = []
    for path in given:
        try:
            found.append(_mountpoint(path, listed))
        except NotMounted as error:
            failures.append(error)
    return found


def mountpoint_of(given: Path) -> Path:
    """The mountpoint that is meant by itself or by a volume file.

    Raises:
        NotMounted: nothing is mounted of that volume file.
    """
    return _mountpoint(given, [mount for mount in mounts() if mount.is_tierfs])


def _mountpoint(given: Path, listed: list[Mount]) -> Path:
    """The mountpoint itself, or that of the volume which a file describes."""
    if not given.is_file():
        return given
    real = os.path.realpath(given)
    for mount in listed:
        if mount.source == real:
            return mount.path
    raise NotMounted(
        f"{given}: no mount was made of such a volume file; name the mountpoint "
        "(a policy file is not taken: a mount has its own, which its volume file names)"
    )


def _applied(mountpoint: Path, *, needed: bool) -> str:
    """What the mount says that it did.

    Raises:
        ConfigError: the policy is wrong.
        UsageError: the mount has none, though one is ``needed``.
        NotMounted: nobody answers there.
    """
    answer = ask(mountpoint, "policy apply")
    policy = answer["policy"]
    if policy is None and not needed:
        return f"{mountpoint}: no policy"
    if policy is None:
        raise UsageError(
            f"{mountpoint}: the volume file names no policy; add one (policy: FILE), mount again"
        )
    if answer["result"] == "refused":
        kept = f"{mountpoint}: the last good policy stays in force"
        raise ConfigError.of_lines([*answer["problems"], kept])
    if answer["result"] == "unchanged":
        return f"{mountpoint}: {policy['path']} was in force already"
    rules = f"{policy['rules']} rule{'' if policy['rules'] == 1 else 's'}"
    return f"{mountpoint}: {policy['path']} is in force, with {rules}"
