"""``tierfs policy schema``: the JSON Schema of policy files, for editors."""

from __future__ import annotations

import json

import click

from tierfs.cli.verb import Verb
from tierfs.policy.tier_policy import policy_schema

EXAMPLES = """
tierfs policy schema > tier-policy.schema.json
# then, in the first line of a policy, for editors with a YAML language server:
# yaml-language-server: $schema=tier-policy.schema.json
"""


@click.command(
    cls=Verb, epilog=EXAMPLES, name="schema", short_help="Print the JSON Schema for editors."
)
def command() -> None:
    """Print the JSON Schema (draft 7) of policy files, by which editors complete and check them."""
    click.echo(json.dumps(policy_schema(), indent=2))
