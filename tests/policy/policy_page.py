"""Writes the tables of keys in docs/reference/tier-policy.md from the declarations.

Run ``python -m tests.policy.policy_page`` after a change of the keys.
"""

from __future__ import annotations

import re

from tests.policy.loading import CONFIGS
from tierfs.policy.conditions import MATCH_SCHEMA, READS_SCHEMA
from tierfs.policy.policy_keys import (
    FLASH_SCHEMA,
    MOVER_SCHEMA,
    POLICY,
    PROMOTE_SCHEMA,
    RULE_SCHEMA,
    SETTINGS,
)
from tierfs.policy.schema import REQUIRED, Field, Schema

PAGE = CONFIGS.parent / "docs" / "reference" / "tier-policy.md"
_BLOCK = re.compile(r"(?s)(<!-- keys: (\w+) -->\n).*?(<!-- end -->)")


def shown() -> dict[str, Schema]:
    """The tables of the page by their names in it; what all have in common stands once."""
    top = tuple(field for field in POLICY.fields if field not in SETTINGS)
    rule = tuple(field for field in RULE_SCHEMA.fields if field not in SETTINGS)
    return {
        "top": Schema("the policy", top),
        "settings": Schema("settings", SETTINGS),
        "promote": PROMOTE_SCHEMA,
        "flash": FLASH_SCHEMA,
        "mover": MOVER_SCHEMA,
        "rule": Schema("a rule", rule),
        "match": MATCH_SCHEMA,
        "reads": READS_SCHEMA,
    }


def tables() -> list[Schema]:
    return list(shown().values())


def rendered(page: str) -> str:
    """``page`` with its tables as they must be."""
    return _BLOCK.sub(lambda found: f"{found[1]}{table(shown()[found[2]])}{found[3]}", page)


def table(keys: Schema) -> str:
    required = any(field.default is REQUIRED for field in keys.fields)
    defaults = any(field.unset for field in keys.fields)
    columns = ["key", *["required"] * required, *["default"] * defaults, "example", "meaning"]
    rows = [columns, ["---"] * len(columns)]
    rows += [row(field, required=required, defaults=defaults) for field in keys.fields]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


def row(field: Field[object], *, required: bool, defaults: bool) -> list[str]:
    need = ["yes" if field.default is REQUIRED else "no"] * required
    unset = [default(field)] * defaults
    return [f"`{field.name}`", *need, *unset, f"`{field.example}`", field.meaning]


def default(field: Field[object]) -> str:
    plain = " " in field.unset or field.unset in {"", "always"}
    return field.unset if plain else f"`{field.unset}`"


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
