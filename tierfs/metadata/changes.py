"""A change of the feed as a record for JSON, documented in docs/reference/change-feed.md."""

from __future__ import annotations

import base64
import os
from typing import Any, Final

from tierfs.metadata.feed import COLUMNS, DENTRY, DIRTY, DIRTY_FROM, INODE, ORIGINAL, PIN, XATTR
from tierfs.metadata.inodes import Inode, inode_of
from tierfs.metadata.sqlite import Row

VERSION: Final = 1
"""Of the form of the records: another one where a reader of the old one would be wrong."""

_NAMES: Final = {
    INODE: "inode",
    DENTRY: "name",
    XATTR: "xattr",
    PIN: "pin",
    ORIGINAL: "original",
}


def record_of(row: Row) -> dict[str, Any]:
    """The record of a row of the feed, with all of `COLUMNS`."""
    found = dict(zip(COLUMNS, row, strict=True))
    serial, kind = {"serial": found["serial"]}, found["kind"]
    if kind == DIRTY_FROM:
        return {**serial, "change": "settled", "below": found["ino"]}
    if kind == DIRTY:
        return {**serial, "change": "dirtied", "ino": found["ino"], "synced": found["size"]}
    if kind == DIRTY + 1:
        return {**serial, "change": "settled", "ino": found["ino"]}
    if kind in _NAMES:
        return {**serial, **put_record(_NAMES[kind], found)}
    what = _NAMES[kind - 1]
    return {**serial, "change": "delete", "of": what, **_key(what, found)}


def put_record(what: str, found: dict[str, Any]) -> dict[str, Any]:
    """The record of a row of ``found`` columns, as the feed calls them."""
    return {"change": "put", "of": what, **_key(what, found), **_image(what, found)}


def _key(what: str, found: dict[str, Any]) -> dict[str, Any]:
    """What tells one row of the table from the others."""
    key = {"ino": found["ino"]}
    if what == "name":
        key = {"parent": found["parent"], "name": os.fsdecode(found["name"]), **key}
    elif what == "xattr":
        key["name"] = os.fsdecode(found["name"])
    return key


def _image(what: str, found: dict[str, Any]) -> dict[str, Any]:
    """What the row is now, behind its key."""
    if what == "name":
        return {"cookie": found["number"]}
    if what == "xattr":
        return {"value": base64.b64encode(found["value"]).decode()}
    if what == "pin":
        return {"until": found["number"], "below": bool(found["flag"])}
    if what == "original":
        size, mtime, ctime = found["size"], found["mtime"], found["ctime"]
        return {"number": found["number"], "size": size, "mtime": mtime, "ctime": ctime}
    inode = inode_of([found["value" if name == "target" else name] for name in Inode._fields])
    image = inode._asdict()
    del image["ino"]
    target = image.pop("target")
    return image if target is None else {**image, "target": os.fsdecode(target)}
