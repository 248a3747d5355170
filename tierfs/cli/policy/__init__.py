"""``tierfs policy``: what a tier policy says, of files and of mounts.

- ``check``: `check` and `schema`, of a policy file by itself.
- ``explain``: which rule applies to a file, and why.
- ``mounted``: `apply` and `plan`, of a mount with its policy.
- ``replay``: an access log played through a policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import click

from tierfs.cli.command import CommandGroup

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "check": "tierfs.cli.policy.check:check",
        "explain": "tierfs.cli.policy.explain",
        "apply": "tierfs.cli.policy.mounted:apply",
        "plan": "tierfs.cli.policy.mounted:plan",
        "replay": "tierfs.cli.policy.replay",
        "schema": "tierfs.cli.policy.check:schema",
    }
)
"""As in `tierfs.cli.main`."""

EXAMPLES = """
tierfs policy check policy.yaml
tierfs policy explain --policy policy.yaml /mnt/images/screens/2026-07/plate1.tif
tierfs policy apply /mnt/images
tierfs policy plan /mnt/images
tierfs policy schema > tier-policy.schema.json
"""


@click.group(
    cls=CommandGroup,
    modules=COMMANDS,
    epilog=EXAMPLES,
    name="policy",
    short_help="Check a tier policy, put it in force, and ask what it says about files.",
)
def command() -> None:
    """Check a tier policy, put it in force, and ask what it says about files.

    A mount goes by the policy that its volume file names (policy: FILE).
    """
