"""``tierfs tag``: tags of files, which are extended attributes ``user.``.

They are set through the mount with the rights of who runs the command. For root the daemon sets
those of a table, many at a time. In both ways every program sees them at once.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import click

from tierfs.cli.command import FILE, PATH, Command, CommandGroup
from tierfs.cli.files import Reporter, files, put, remove, require_files, takes_files
from tierfs.cli.messages import counted
from tierfs.cli.rows import pyarrow_module
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import NotMounted, UsageError, printable
from tierfs.daemon.control_client import Daemon
from tierfs.daemon.mountinfo import mount_above

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "set": "tierfs.cli.tag:set_tags",
        "get": "tierfs.cli.tag:get_tag",
        "remove": "tierfs.cli.tag:remove_tags",
        "list": "tierfs.cli.tag:list_tags",
        "import": "tierfs.cli.tag:import_tags",
    }
)

PREFIX: Final = "user."
LONGEST: Final = 65_536
"""Bytes of a value (XATTR_SIZE_MAX, limits.h)."""
LONGEST_NAME: Final = 255
PATH_COLUMN: Final = "path"
REQUEST: Final = 30_000
"""Bytes of paths and values in one request, which may have twice as many with its signs."""
PER_FILE: Final = 24
BATCH: Final = 10_000
"""Rows of a table that are in memory at a time."""

EXAMPLES = """
tierfs tag set user.label=mitosis /mnt/images/screens/plate1.tif
tierfs tag import labels.csv --root /mnt/images
tierfs find /mnt/images 'user.label = mitosis'
"""
SET_EXAMPLES = """
tierfs tag set user.label=mitosis /mnt/images/screens/plate1.tif
tierfs tag set -r user.batch=2026-07 /mnt/images/screens/2026-07
tierfs find /mnt/images 'name = *.tif' -0 | tierfs tag set -0 user.kind=raw -
"""
GET_EXAMPLES = """
tierfs tag get user.label /mnt/images/train/cells.tif
tierfs tag get -r --json user.label /mnt/images/train
"""
REMOVE_EXAMPLES = """
tierfs tag remove -r user.batch /mnt/images/screens/2026-07
"""
LIST_EXAMPLES = """
tierfs tag list /mnt/images/train/cells.tif
tierfs tag list -r --json /mnt/images/train
"""
IMPORT_EXAMPLES = """
tierfs tag import labels.csv --root /mnt/images
tierfs tag import labels.parquet --root /mnt/images/train
"""

recursive = click.option(
    "-r", "--recursive", is_flag=True, help="All files in and below directories."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(
    cls=CommandGroup,
    modules=COMMANDS,
    epilog=EXAMPLES,
    name="tag",
    short_help="Set, show and import the tags of files.",
)
def command() -> None:
    """Set, show and import the tags of files: extended attributes that begin with user.

    A name may be given without user. The owner of a file, who may write it, and root set them.
    """


def _tag_name(text: str) -> str:
    """The name of a tag with its namespace.

    Raises:
        UsageError: it can be none.
    """
    name = text if text.startswith(PREFIX) else f"{PREFIX}{text}"
    if name == PREFIX or "\0" in name or len(os.fsencode(name)) > LONGEST_NAME:
        raise UsageError(f"{text!r} cannot be the name of a tag; write one such as user.label")
    return name


@click.command(cls=Command, epilog=SET_EXAMPLES, name="set", short_help="Set a tag of files.")
@click.argument("tag", metavar="TAG=VALUE")
@takes_files
@recursive
def set_tags(tag: str, paths: tuple[str, ...], *, null: bool, recursive: bool) -> int:
    """Set a tag of each file; an earlier value is replaced."""
    name, equals, value = tag.partition("=")
    if not equals:
        raise UsageError(f"write the tag and its value: {tag}=VALUE")
    key, data = _tag_name(name), os.fsencode(value)
    return _each("tag set", paths, lambda file: put(file, key, data), null=null, deep=recursive)


@click.command(
    cls=Command, epilog=REMOVE_EXAMPLES, name="remove", short_help="Remove a tag of files."
)
@click.argument("tag", metavar="TAG")
@takes_files
@recursive
def remove_tags(tag: str, paths: tuple[str, ...], *, null: bool, recursive: bool) -> int:
    """Remove a tag of each file; files without it stay as they are."""
    key = _tag_name(tag)
    return _each("tag remove", paths, lambda file: remove(file, key), null=null, deep=recursive)


@click.command(cls=Command, epilog=GET_EXAMPLES, name="get", short_help="Show a tag of files.")
@click.argument("tag", metavar="TAG")
@takes_files
@recursive
@as_json
def get_tag(tag: str, paths: tuple[str, ...], *, null: bool, recursive: bool, as_json: bool) -> int:
    """Print the value of a tag of each file that has it, behind the file's name."""
    key = _tag_name(tag)
    found: dict[str, str] = {}

    def read(file: bytes) -> None:
        try:
            value = os.fsdecode(os.getxattr(file, key, follow_symlinks=False))
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            return
        if as_json:
            found[os.fsdecode(file)] = value
        else:
            click.echo(f"{printable(file)}: {printable(value)}")

    code = _each("tag get", paths, read, null=null, deep=recursive)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    return code


@click.command(cls=Command, epilog=LIST_EXAMPLES, name="list", short_help="Show all tags of files.")
@takes_files
@recursive
@as_json
def list_tags(paths: tuple[str, ...], *, null: bool, recursive: bool, as_json: bool) -> int:
    """Print every tag of each file, a line each."""
    found: dict[str, dict[str, str]] = {}

    def read(file: bytes) -> None:
        tags = {
            name: os.fsdecode(os.getxattr(file, name, follow_symlinks=False))
            for name in sorted(os.listxattr(file, follow_symlinks=False))
            if name.startswith(PREFIX)
        }
        if as_json:
            found[os.fsdecode(file)] = tags
            return
        for name, value in tags.items():
            click.echo(f"{printable(file)}: {printable(name)}={printable(value)}")

    code = _each("tag list", paths, read, null=null, deep=recursive)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    return code


def _each(
    verb: str,
    paths: tuple[str, ...],
    call: Callable[[bytes], object],
    *,
    null: bool,
    deep: bool,
) -> int:
    """Call something with each file; returns the exit code.

    Raises:
        NotMounted: the daemon of a mount is gone.
        UsageError: no file is named.
    """
    require_files(verb, paths, null=null)
    reporter = Reporter()
    for file in files(paths, reporter, null=null, recursive=deep):
        try:
            call(file)
        except OSError as error:
            reporter.failed(file, error, found=deep)
    reporter.print_rest()
    return reporter.exit_code


# ------------------------------------------------------------------ tables


@click.command(
    cls=Command, epilog=IMPORT_EXAMPLES, name="import", short_help="Set tags from a table."
)
@click.argument("table", metavar="TABLE", type=FILE)
@click.option(
    "--root",
    type=PATH,
    default=Path(),
    metavar="DIR",
    help="Where relative paths of the table begin; the current directory if not given.",
)
@as_json
def import_tags(table: Path, *, root: Path, as_json: bool) -> int:
    """Set tags from TABLE, a .csv or .parquet file: its column path names files, the others tags.

    A value that is missing, or empty in a .csv file, sets nothing. What is set already stays.
    """
    began = time.monotonic()
    reporter = TagReporter()
    with waiting_for("setting tags"):
        for path, tags in _unset(_rows(table), _whole_mount(root), reporter):
            file = os.fsencode(root / path)
            try:
                for name, value in tags:
                    os.setxattr(file, name, value, follow_symlinks=False)
            except OSError as error:
                reporter.failed(file, error, found=False)
            else:
                reporter.tagged += len(tags)
    seconds = time.monotonic() - began
    if as_json:
        record = {"tags": reporter.tagged, "errors": reporter.errors, "seconds": round(seconds, 3)}
        click.echo(json.dumps(record, indent=2))
    else:
        click.echo(f"set {counted(reporter.tagged, 'tag', 'tags')} in {seconds:.1f} s")
    reporter.print_rest()
    return reporter.exit_code


Tags = list[tuple[str, bytes]]


class TagReporter(Reporter):
    """Counts tags as well."""

    __slots__ = ("tagged",)

    def __init__(self) -> None:
        super().__init__()
        self.tagged = 0


class WholeMount(NamedTuple):
    """Where root sets tags by asking the daemon."""

    daemon: Daemon
    above: str
    """The path of the directory that relative paths begin in, from the root of the mount."""


def _whole_mount(root: Path) -> WholeMount | None:
    """None: tags are set one by one, with the rights of the user of the command."""
    if os.geteuid() != 0:
        return None
    real = root.resolve()
    mount = mount_above(real)
    if mount is None or not mount.is_tierfs:
        return None
    return WholeMount(Daemon(mount.path), real.relative_to(mount.path).as_posix())


def _unset(
    rows: Iterator[tuple[str, Tags]], whole: WholeMount | None, reporter: TagReporter
) -> Iterator[tuple[str, Tags]]:
    """Have the daemon set what it can, some hundred at a time; the rest is to be set by name."""
    batch: list[tuple[str, Tags]] = []
    size = 0
    for path, tags in rows:
        parts = path.split("/")
        weight = 2 * len(path) + sum(2 * len(name) + 2 * len(value) for name, value in tags)
        if whole is None or weight > REQUEST or not tags or {"", ".", ".."}.intersection(parts):
            yield path, tags
            continue
        if size + weight > REQUEST:
            yield from _asked(batch, whole, reporter)
            batch, size = [], 0
        batch.append((path, tags))
        size += weight + PER_FILE
    if whole is not None and batch:
        yield from _asked(batch, whole, reporter)


def _asked(
    batch: list[tuple[str, Tags]], whole: WholeMount, reporter: TagReporter
) -> list[tuple[str, Tags]]:
    """What the daemon did not set of these."""
    above = "" if whole.above == "." else f"{whole.above}/"
    files = [
        [f"{above}{path}", [[name, os.fsdecode(value)] for name, value in tags]]
        for path, tags in batch
    ]
    try:
        failed = {number for number, _ in whole.daemon.ask("tags", files=files)["failed"]}
    except NotMounted:  # it refuses, or is gone: then the files say so
        return batch
    reporter.tagged += sum(
        len(tags) for number, (_, tags) in enumerate(batch) if number not in failed
    )
    return [one for number, one in enumerate(batch) if number in failed]


def _rows(table: Path) -> Iterator[tuple[str, Tags]]:
    """Paths, and their tags.

    Raises:
        UsageError: the table cannot be read, or has no column for paths.
    """
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    reader = readers.get(table.suffix)
    if reader is None:
        raise UsageError(f"{table}: a table is a file that ends in {' or '.join(readers)}")
    try:
        yield from reader(table)
    except OSError as error:
        raise UsageError(f"{table} cannot be read: {error.strerror or error}") from error


def _csv_rows(table: Path) -> Iterator[tuple[str, Tags]]:
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        names = _names(table, next(rows, []))
        for number, row in enumerate(rows, start=2):
            if len(row) != len(names):
                raise UsageError(f"{table}: line {number} has {len(row)} values, not {len(names)}")
            yield _tagged(dict(zip(names, row, strict=True)))


def _parquet_rows(table: Path) -> Iterator[tuple[str, Tags]]:
    parquet, arrow = pyarrow_module("pyarrow.parquet"), pyarrow_module("pyarrow")
    try:
        with parquet.ParquetFile(table) as file:
            names = _names(table, file.schema_arrow.names)
            for batch in file.iter_batches(BATCH):
                columns = [column.to_pylist() for column in batch.columns]
                for row in zip(*columns, strict=True):
                    yield _tagged(dict(zip(names, row, strict=True)))
    except arrow.ArrowException as error:
        raise UsageError(f"{table} is no Parquet file: {error}") from error


def _names(table: Path, columns: list[str]) -> list[str]:
    if PATH_COLUMN not in columns:
        raise UsageError(f"{table}: has no column {PATH_COLUMN!r}, which names the files")
    names = [one if one == PATH_COLUMN else _tag_name(one) for one in columns]
    if len(set(names)) != len(names):
        raise UsageError(f"{table}: has a column twice")
    return names


def _tagged(row: Mapping[str, object]) -> tuple[str, Tags]:
    tags = [
        (name, value if isinstance(value, bytes) else os.fsencode(str(value)))
        for name, value in row.items()
        if name != PATH_COLUMN and value is not None and value != ""
    ]
    path = row[PATH_COLUMN]
    return (os.fsdecode(path) if isinstance(path, bytes) else str(path)), tags
