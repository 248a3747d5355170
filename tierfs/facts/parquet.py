"""Parquet, by pyarrow: the schema and the rows, out of the footer."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from pyarrow import parquet

from tierfs.facts.extractor import Extractor, Found, NotReadable
from tierfs.facts.source import Source

_MAGIC: Final = b"PAR1"

KEYS: Final = {
    "parquet.rows": "rows",
    "parquet.row_groups": "row groups",
    "parquet.columns": "columns, those inside others counted one by one",
    "parquet.names": "names of the top columns, with commas between, where all fit",
    "parquet.created_by": "the program that wrote it",
}


def recognises(head: bytes) -> bool:
    """Whether these are the first bytes of a Parquet file."""
    return head.startswith(_MAGIC)


def extract(source: Source) -> Found:
    """The facts.

    Raises:
        NotReadable: the footer is wrong.
    """
    if source.tail(len(_MAGIC)) != _MAGIC:
        raise NotReadable("the file does not end with a footer")
    try:
        metadata = parquet.read_metadata(source.file())
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise NotReadable(str(error)) from error
    return {
        "parquet.rows": metadata.num_rows,
        "parquet.row_groups": metadata.num_row_groups,
        "parquet.columns": metadata.num_columns,
        "parquet.names": ",".join(schema.names),
        "parquet.created_by": metadata.created_by,
    }


EXTRACTOR: Final = Extractor("parquet", 1, KEYS, recognises, extract)
