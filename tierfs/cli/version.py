"""``tierfs version``: what to say in a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from tierfs.cli.verb import Verb

PACKAGES = ("tierfs", "pyfuse3", "trio")


EXAMPLES = """
tierfs version
"""


@click.command(
    cls=Verb,
    epilog=EXAMPLES,
    name="version",
    short_help="Show the versions of tierfs and what it runs on.",
)
def command() -> None:
    """Show the versions of tierfs, its main libraries, Python and the kernel."""
    for package in PACKAGES:
        click.echo(f"{package} {_version(package)}")
    click.echo(f"Python {platform.python_version()}")
    click.echo(f"{platform.system()} {platform.release()} {platform.machine()}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(run from its source directory)"
