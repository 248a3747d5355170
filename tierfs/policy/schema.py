"""JSON Schema (draft 7, which editors read best) from the tables that the checker reads by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from tierfs.policy.fields import REQUIRED, Field, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

DIALECT = "http://json-schema.org/draft-07/schema#"


class _Described(Protocol):
    def schema(self) -> dict[str, Any]:
        """What the reader accepts."""


def document_schema(
    table: Table, title: str, definitions: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """The schema of a whole file."""
    return {
        "$schema": DIALECT,
        "title": title,
        **table_schema(table),
        "definitions": dict(definitions),
    }


def table_schema(table: Table) -> dict[str, Any]:
    """The schema of a mapping."""
    required = [field.name for field in table.fields if field.default is REQUIRED]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _field_schema(field) for field in table.fields},
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def _field_schema(field: Field[Any]) -> dict[str, Any]:
    reader = field.reader
    if isinstance(reader, Table):
        accepted = table_schema(reader)
    else:
        accepted = cast("_Described", reader).schema()
    # Draft 7 ignores what stands beside a $ref.
    return {
        "description": field.meaning,
        **({"allOf": [accepted]} if "$ref" in accepted else accepted),
    }
