"""``tierfs policy explain``: which rule holds for a file, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import click

from tierfs.base.durations import parse_duration
from tierfs.base.errors import UsageError
from tierfs.base.text import printable
from tierfs.cli.policy.local_facts import Assumed, local_facts
from tierfs.cli.policy.mounted_facts import Located, explained, lines, locate
from tierfs.cli.status import aligned
from tierfs.cli.verb import PATH, Verb
from tierfs.policy.evaluate import explain, explanation_record
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy

Found: TypeAlias = tuple[bytes, dict[str, Any]]
"""A path and the record of its explanation."""

NOT_KNOWN = "open: how the file was read is not known to the mount, so the rule is passed over"
OPEN_NOTE = (
    "open: how often and when a file was read is not known here, so the rule is passed over; "
    "--idle and --reads assume it"
)

EXAMPLES = """
tierfs policy explain /mnt/images/screens/2026-07/plate1.tif
tierfs policy explain --policy policy.yaml /mnt/images/screens/2026-07/plate1.tif
tierfs policy explain --policy policy.yaml --idle 40d --json /mnt/images/old/*.tif
tierfs policy explain --policy policy.yaml --root /data/images /data/images/a.tif
"""


class DurationType(click.ParamType[int]):
    """A length of time with a unit, in nanoseconds."""

    name = "duration"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``7d`` in nanoseconds; click shows what is wrong with a bad one."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    cls=Verb,
    epilog=EXAMPLES,
    name="explain",
    short_help="Say which rule holds for a file, and why.",
)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=bytes)
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=PATH,
    help="The policy.  [default: that of the mount the file lies on]",
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True, path_type=bytes),
    help="Where the policy's paths start.  [default: the tierfs mount of the file, else /]",
)
@click.option(
    "--idle", type=DurationType(), metavar="TIME", help="Assume it was last read so long ago."
)
@click.option("--reads", type=click.IntRange(0), metavar="N", help="Assume so many reads lately.")
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
    """Say which rule of a policy holds for each file, why the ones before it do not, what follows.

    Without --policy it is the policy in force of the mount that the file lies on, and the mount
    tells what it knows: how the file was read, pins, and what is on flash. With --policy any file
    will do, on a mount or not: the facts are those that the file itself tells.
    """
    failures: list[str] = []
    if policy_file is not None:
        found = list(
            _by_file(load_policy(policy_file), paths, root, Assumed(idle, reads), failures)
        )
    elif root is not None or idle is not None or reads is not None:
        raise UsageError("--root, --idle and --reads are for a policy that --policy names")
    else:
        found = list(_by_mount(paths, failures))
    if as_json:
        click.echo(json.dumps([_as_json(*one) for one in found], indent=2))
    elif found:
        click.echo(_told(found))
    if failures:
        raise UsageError.of_lines(failures)


def _by_file(
    policy: Policy,
    paths: Sequence[bytes],
    root: bytes | None,
    assumed: Assumed,
    failures: list[str],
) -> Iterator[Found]:
    for path in paths:
        with _noted(path, failures):
            yield path, explanation_record(explain(policy, local_facts(path, root, assumed)))


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
    """What is wrong with one file is told at the end."""
    try:
        yield
    except OSError as error:
        failures.append(f"{os.fsdecode(path)}: {error.strerror}; check the name")
    except UsageError as error:
        failures.append(str(error))


def _told(found: list[Found]) -> str:
    shown = [line for path, told in found for line in _lines(path, told)]
    if any(rule["verdict"] == "open" for _, told in found for rule in told["rules"]):
        shown += ["", NOT_KNOWN if "why" in found[0][1] else OPEN_NOTE]
    return "\n".join(shown)


def _lines(path: bytes, told: dict[str, Any]) -> Iterator[str]:
    yield printable(os.fsdecode(path))
    rows = [*told["lines"], *(lines(told) if "why" in told else ())]
    yield from map(printable, aligned([(f"  {name}", value) for name, value in rows]))


def _as_json(path: bytes, told: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in told.items() if key != "lines"}
    return {"path": os.fsdecode(path), **kept}
