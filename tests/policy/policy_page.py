"""Writes the tables of keys in docs/reference/tier-policy.md from the declarations.

Run ``python -m tests.policy.policy_page`` after a change of the keys.
"""

from __future__ import annotations

import re

from tests.policy.loading import CONFIGS
from tierfs.policy.fields import REQUIRED, Field, Table
from tierfs.policy.limits import FLASH_TABLE, MOVER_TABLE
from tierfs.policy.match_reader import MATCH_TABLE, READS_TABLE
from tierfs.policy.settings import PROMOTE_TABLE, SETTINGS
from tierfs.policy.tier_policy import POLICY, RULE_TABLE

PAGE = CONFIGS.parent / "docs" / "reference" / "tier-policy.md"
_BLOCK = re.compile(r"(?s)(<!-- keys: (\w+) -->\n).*?(<!-- end -->)")


def shown() -> dict[str, Table]:
    """The tables of the page by their names in it; what all have in common stands once."""
    top = tuple(field for field in POLICY.fields if field not in SETTINGS)
    rule = tuple(field for field in RULE_TABLE.fields if field not in SETTINGS)
    return {
        "top": Table("the policy", top),
        "settings": Table("settings", SETTINGS),
        "promote": PROMOTE_TABLE,
        "flash": FLASH_TABLE,
        "mover": MOVER_TABLE,
        "rule": Table("a rule", rule),
        "match": MATCH_TABLE,
        "reads": READS_TABLE,
    }


def tables() -> list[Table]:
    return list(shown().values())


def rendered(page: str) -> str:
    """``page`` with its tables as they must be."""
    return _BLOCK.sub(lambda found: f"{found[1]}{table(shown()[found[2]])}{found[3]}", page)


def table(keys: Table) -> str:
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
