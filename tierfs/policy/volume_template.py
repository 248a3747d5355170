"""The text of a new volume file, as ``tierfs init`` writes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from tierfs.common.errors import ConfigError
from tierfs.common.units import BINARY_UNITS
from tierfs.policy.diagnostics import quote

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN = re.compile(r"/[A-Za-z0-9_./@+=-]*")

_TEMPLATE = """\
# A tierfs volume: two directories that are mounted as one filesystem.
# Relative paths start from the directory of this file. Every key is explained in
# tierfs's documentation, on the page "The volume file".

version: 1

# The first bytes of every file are kept here, the rest there. Both directories belong to tierfs:
# nothing else may write to them.
flash: {flash}
disk: {disk}

# The SQLite database of names and attributes. Keep it on flash.
{index}

# How much of each new file's start is kept on flash: 4KiB to 1GiB, a multiple of 4KiB.
head: {head}

# The tier policy: what belongs on flash. Without one nothing is moved but by hand.
#policy: policy.yaml

# Record what is read and written, for `tierfs policy replay`. Names of files stand in it.
#access_log: {{file: /var/log/tierfs/images.access, size: 64MiB}}

# Memory for how often files are read, 29 bytes a file.
#tiering: {{memory: 32MiB}}

# Serve Prometheus metrics at this address; nobody is asked for a password there.
#metrics: {{listen: 127.0.0.1:9469}}

# The fast path answers what it can without Python, from so much memory: more for more files.
#fast_path: {{memory: 128MiB}}

# format: text, json or journald; level: debug, info, warning or error.
#log: {{format: text, level: info}}
"""


def render_volume_file(*, flash: Path, disk: Path, head: int, index: Path | None = None) -> str:
    """A volume file with comments, which `load_volume_file` reads back to the same settings.

    Args:
        flash: the flash directory.
        disk: the disk directory.
        head: the length of the heads, in bytes.
        index: the index, when it is not to be ``index.db`` in the flash directory.

    Raises:
        ConfigError: a path cannot be written in a YAML file.
    """
    unit = [name for name, width in BINARY_UNITS.items() if head % width == 0][-1]
    return _TEMPLATE.format(
        flash=quoted_path(flash),
        disk=quoted_path(disk),
        index=f"index: {quoted_path(index)}"
        if index
        else f"#index: {quoted_path(flash / 'index.db')}",
        head=f"{head // BINARY_UNITS[unit]}{unit}",
    )


def quoted_path(path: Path) -> str:
    """A path as a volume file names it.

    Raises:
        ConfigError: no YAML file can name it.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ConfigError(
            f"{quote(text)}: is not UTF-8, so no YAML file can name it; rename it"
        ) from exc
    if _PLAIN.fullmatch(text):
        return text
    # A relative path that begins with a tilde would be read as a home directory.
    text = f"./{text}" if text.startswith("~") else text
    return _quoted(text)


def _quoted(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**31)).strip()
