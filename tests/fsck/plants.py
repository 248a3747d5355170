"""Damage of every kind, each planted alone: what it is done by, and what a check is to find."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tests.fsck.image import Image
from tierfs.fs.volume import HEADS
from tierfs.fsck import kinds
from tierfs.fsck.kinds import Kind
from tierfs.metadata.inodes import ROOT

Findings = set[tuple[Kind, int]]
Plant = Callable[[Image], Findings]

UNUSED = 5
"""A serial that is never handed out, and below the next one."""


def remove_disk_object(image: Image) -> Findings:
    ino = image.ino(b"large")
    image.disk(ino).unlink()
    return {(kinds.MISSING_OBJECT, ino)}


def remove_flash_object(image: Image) -> Findings:
    ino = image.ino(b"exact")
    image.flash(ino).unlink()
    return {(kinds.MISSING_OBJECT, ino)}


def remove_directory_of_objects(image: Image) -> Findings:
    """All there are, one for each mount; what was unlinked is missed by nobody."""
    for path in (image.settings.flash / HEADS).glob("*/*/*"):
        path.unlink()
    lost = {image.ino(name) for name in (b"exact", b"twin", b"large", b"other", b"cut", b"deep")}
    return {(kinds.MISSING_OBJECT, ino) for ino in lost} | {
        (kinds.HEAD_LOST, image.ino(b"mirrored"))
    }


def cut_flash_object(image: Image) -> Findings:
    ino = image.ino(b"other")
    os.truncate(image.flash(ino), 100)
    return {(kinds.SHORT_OBJECT, ino)}


def cut_disk_object(image: Image) -> Findings:
    ino = image.ino(b"deep")
    os.truncate(image.disk(ino), 8999)
    return {(kinds.SHORT_OBJECT, ino)}


def cut_object_of_cut_file(image: Image) -> Findings:
    """It may be longer, not shorter."""
    ino = image.ino(b"cut")
    os.truncate(image.flash(ino), 499)
    return {(kinds.SHORT_OBJECT, ino)}


def put_symlink_for_object(image: Image) -> Findings:
    ino = image.ino(b"exact")
    path = image.flash(ino)
    path.unlink()
    path.symlink_to(image.disk(image.ino(b"large")))
    return {(kinds.MISSING_OBJECT, ino), (kinds.FOREIGN, 0)}


def give_up_bytes(image: Image) -> Findings:
    """As a scrub does that found them wrong."""
    ino = image.ino(b"exact")
    image.flash(ino).unlink()
    image.sql(
        "INSERT INTO checksum (ino, version, length, head, verified, lost) "
        "SELECT ino, version, 0, x'00', 1, 2 FROM inode WHERE ino = ?",
        ino,
    )
    return {(kinds.MISSING_OBJECT, ino), (kinds.WRONG_BYTES, ino)}


def remove_mirrored_head(image: Image) -> Findings:
    ino = image.ino(b"mirrored")
    image.flash(ino).unlink()
    return {(kinds.HEAD_LOST, ino)}


def remove_both_copies(image: Image) -> Findings:
    ino = image.ino(b"mirrored")
    image.flash(ino).unlink()
    image.disk(ino).unlink()
    return {(kinds.MISSING_OBJECT, ino)}


def cut_mirror(image: Image) -> Findings:
    ino = image.ino(b"mirrored")
    os.truncate(image.disk(ino), 2999)
    return {(kinds.STALE_MIRROR, ino)}


def change_mirror(image: Image) -> Findings:
    ino = image.ino(b"mirrored")
    with image.disk(ino).open("r+b") as file:
        file.seek(2000)
        file.write(b"\0")
    return {(kinds.MIRROR_DIFFERS, ino)}


def call_unmirrored_mirrored(image: Image) -> Findings:
    ino = image.ino(b"twin")
    image.set(ino, "mirrored", 1)
    return {(kinds.STALE_MIRROR, ino)}


def evict_mirrored(image: Image) -> Findings:
    """The move forgot that there is no mirror then, but the file."""
    ino = image.ino(b"mirrored")
    image.set(ino, "prefix", 0)
    image.flash(ino).unlink()
    return {(kinds.ROW, ino)}


def change_original(image: Image) -> Findings:
    """Of a file that is adopted, as far as the index tells."""
    ino = image.ino(b"mirrored")
    status = image.disk(ino).stat()
    image.set(ino, "adopted", 1)
    image.sql(
        "INSERT INTO adopted VALUES (?, ?, ?, ?, ?)",
        *(ino, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns),
    )
    os.truncate(image.disk(ino), 5000)
    return {(kinds.CHANGED_OUTSIDE, ino)}


def adopt_what_has_no_mirror(image: Image) -> Findings:
    ino = image.ino(b"other")
    image.set(ino, "adopted", 1)
    return {(kinds.ROW, ino)}


def lengthen_object(image: Image) -> Findings:
    ino = image.ino(b"large")
    os.truncate(image.disk(ino), 20_000)
    return {(kinds.LEFTOVER, ino)}


def put_object_for_empty_file(image: Image) -> Findings:
    ino = image.ino(b"empty")
    image.flash(ino).write_bytes(b"")
    return {(kinds.LEFTOVER, ino)}


def put_object_for_file_without_tail(image: Image) -> Findings:
    ino = image.ino(b"small")
    image.disk(ino).write_bytes(b"lost")
    return {(kinds.UNUSED_OBJECT, ino)}


def forget_cut(image: Image) -> Findings:
    image.sql("DELETE FROM cut")
    image.sql("DELETE FROM dirty")
    image.sql("UPDATE volume SET dirty_from = next_serial")
    ino = image.ino(b"cut")
    return {(kinds.LEFTOVER, ino), (kinds.UNUSED_OBJECT, ino)}


def put_object_of_nobody(image: Image) -> Findings:
    image.flash(UNUSED).write_bytes(b"lost")
    return {(kinds.UNOWNED_OBJECT, UNUSED)}


def put_object_of_directory(image: Image) -> Findings:
    ino = image.ino(b"upper")
    image.disk(ino).write_bytes(b"lost")
    return {(kinds.UNOWNED_OBJECT, ino)}


def put_object_in_wrong_place(image: Image) -> Findings:
    (image.flash(1).parent / "70000").write_bytes(b"lost")
    return {(kinds.FOREIGN, 0)}


def put_foreign_file(image: Image) -> Findings:
    (image.disk(1).parent / "notes.txt").write_bytes(b"mine")
    return {(kinds.FOREIGN, 0)}


def put_foreign_file_above(image: Image) -> Findings:
    (image.disk(1).parent.parent / "9").write_bytes(b"mine")
    return {(kinds.FOREIGN, 0)}


def lose_row_of_file(image: Image) -> Findings:
    ino = image.ino(b"large")
    image.lose(ino)
    return {(kinds.DANGLING, ino), (kinds.UNOWNED_OBJECT, ino)}


def lose_row_of_directory(image: Image) -> Findings:
    """Above it, the link count may be right; below it, no path leads anywhere."""
    ino = image.ino(b"middle")
    image.lose(ino)
    return {(kinds.DANGLING, ino), (kinds.HOMELESS, ino)}


def lose_root(image: Image) -> Findings:
    image.lose(ROOT)
    return {(kinds.ROOT, ROOT)}


def make_root_a_file(image: Image) -> Findings:
    image.set(ROOT, "mode", stat.S_IFREG | 0o644)
    image.set(ROOT, "size", 0)
    return {(kinds.ROOT, ROOT), (kinds.HOMELESS, ROOT)}


def name_root(image: Image) -> Findings:
    add_entry(image, image.ino(b"aside"), b"root", ROOT)
    image.sql("UPDATE inode SET nlink = nlink + 1 WHERE ino = ?", image.ino(b"aside"))
    return {(kinds.ROOT, ROOT)}


def unname_file(image: Image) -> Findings:
    ino = image.ino(b"large")
    image.unname(ino)
    return {(kinds.UNNAMED, ino)}


def unname_directory(image: Image) -> Findings:
    """Its parent counted it."""
    ino = image.ino(b"middle")
    image.unname(ino)
    return {(kinds.UNNAMED, ino), (kinds.LINKS, image.ino(b"upper"))}


def raise_links(image: Image) -> Findings:
    ino = image.ino(b"twin")
    image.set(ino, "nlink", 3)
    return {(kinds.LINKS, ino)}


def lower_links(image: Image) -> Findings:
    ino = image.ino(b"twin")
    image.set(ino, "nlink", 1)
    return {(kinds.LINKS, ino)}


def call_named_file_unlinked(image: Image) -> Findings:
    ino = image.ino(b"exact")
    image.set(ino, "nlink", 0)
    return {(kinds.LINKS, ino)}


def raise_links_of_directory(image: Image) -> Findings:
    ino = image.ino(b"upper")
    image.set(ino, "nlink", 4)
    return {(kinds.LINKS, ino)}


def lower_links_of_root(image: Image) -> Findings:
    image.set(ROOT, "nlink", 2)
    return {(kinds.LINKS, ROOT)}


def put_name_in_file(image: Image) -> Findings:
    ino = image.ino(b"large")
    image.sql("UPDATE entry SET parent = ? WHERE name = ?", ino, b"other")
    return {(kinds.HOMELESS, ino)}


def put_name_in_removed_directory(image: Image) -> Findings:
    """It was empty when it was removed."""
    aside = image.ino(b"aside")
    image.unname(aside)
    image.set(aside, "nlink", 0)
    image.set(ROOT, "nlink", 3)
    image.sql("UPDATE entry SET parent = ? WHERE name = ?", aside, b"other")
    return {(kinds.HOMELESS, aside)}


def name_directory_twice(image: Image) -> Findings:
    aside, lower = image.ino(b"aside"), image.ino(b"lower")
    add_entry(image, aside, b"again", lower)
    image.set(aside, "nlink", 3)
    return {(kinds.NAMES, lower)}


def change_parent(image: Image) -> Findings:
    ino = image.ino(b"lower")
    image.set(ino, "parent", image.ino(b"aside"))
    return {(kinds.PARENT, ino)}


def close_loop(image: Image) -> Findings:
    """A directory is moved below itself, as a rename would move it."""
    upper, lower = image.ino(b"upper"), image.ino(b"lower")
    image.sql("UPDATE entry SET parent = ? WHERE ino = ?", lower, upper)
    image.set(upper, "parent", lower)
    image.set(lower, "nlink", 3)
    image.set(ROOT, "nlink", 3)
    return {(kinds.CYCLE, upper)}


def give_bad_name(image: Image) -> Findings:
    image.sql("UPDATE entry SET name = ? WHERE name = ?", b"a/b", b"large")
    return {(kinds.BAD_NAME, image.ino(b"a/b"))}


def give_long_name(image: Image) -> Findings:
    image.sql("UPDATE entry SET name = ? WHERE name = ?", b"n" * 256, b"large")
    return {(kinds.BAD_NAME, image.ino(b"n" * 256))}


def give_dots(image: Image) -> Findings:
    image.sql("UPDATE entry SET name = ? WHERE name = ?", b"..", b"large")
    return {(kinds.BAD_NAME, image.ino(b".."))}


def lower_serial(image: Image) -> Findings:
    image.sql("UPDATE volume SET next_serial = ?", image.ino(b"large"))
    return {(kinds.SERIAL, 0)}


def miscount(image: Image) -> Findings:
    image.sql("UPDATE usage SET exact = 1, inodes = inodes + 1, disk_low = disk_low - 7")
    return {(kinds.COUNTS, 0)}


def lose_counts(image: Image) -> Findings:
    image.sql("DELETE FROM usage")
    return {(kinds.COUNTS, 0)}


def be_of_another_mount(image: Image) -> Findings:
    image.sql("UPDATE generation SET current = ?", "8f1f8b57-6f0c-4d64-8e64-0c7a7a0f4c11")
    return {(kinds.GENERATION, 0)}


def put_object_of_future(image: Image) -> Findings:
    """As when an old copy of the index was put back."""
    ((following,),) = image.sql("SELECT next_serial FROM volume")
    image.flash(following).parent.mkdir(parents=True)
    image.flash(following).write_bytes(b"new")
    return {(kinds.SERIAL, 0), (kinds.UNOWNED_OBJECT, following)}


def stray(table: str, columns: str = "ino") -> Plant:
    def plant(image: Image) -> Findings:
        ((row,),) = image.sql(f"SELECT group_concat(ino) FROM {table}")  # noqa: S608
        assert str(UNUSED) not in str(row).split(",")
        image.sql(f"INSERT INTO {table} ({columns}) VALUES ({UNUSED}{VALUES[columns]})")  # noqa: S608
        return {(kinds.STRAY_ROW, UNUSED)}

    return plant


CHECKSUM = "ino, version, length, head, verified, lost"

VALUES = {
    "ino": "",
    "ino, prefix": ", 0",
    "ino, name, value": ", x'61', x'62'",
    CHECKSUM: ", 1, 0, x'00', 0, 0",
    "ino, original, size, mtime, ctime": ", 0, 0, 0, 0",
}


def odd(name: bytes, column: str, value: object) -> Plant:
    def plant(image: Image) -> Findings:
        ino = image.ino(name)
        image.set(ino, column, value)
        return {(kinds.ROW, ino)}

    return plant


def change_schema(image: Image) -> Findings:
    image.sql("DROP INDEX inode_orphan")
    return {(kinds.SCHEMA, 0)}


def add_entry(image: Image, parent: int, name: bytes, ino: int) -> None:
    image.sql(
        "INSERT INTO entry (parent, name, ino, cookie) VALUES (?, ?, ?, 7)", parent, name, ino
    )


PLANTS: Mapping[str, Plant] = MappingProxyType(
    {
        plant.__name__: plant
        for plant in (
            remove_disk_object,
            remove_flash_object,
            remove_directory_of_objects,
            cut_flash_object,
            cut_disk_object,
            cut_object_of_cut_file,
            put_symlink_for_object,
            remove_mirrored_head,
            remove_both_copies,
            cut_mirror,
            change_mirror,
            call_unmirrored_mirrored,
            evict_mirrored,
            lengthen_object,
            change_original,
            adopt_what_has_no_mirror,
            put_object_for_empty_file,
            put_object_for_file_without_tail,
            forget_cut,
            put_object_of_nobody,
            put_object_of_directory,
            put_object_in_wrong_place,
            put_foreign_file,
            put_foreign_file_above,
            lose_row_of_file,
            lose_row_of_directory,
            lose_root,
            make_root_a_file,
            name_root,
            unname_file,
            unname_directory,
            raise_links,
            lower_links,
            call_named_file_unlinked,
            raise_links_of_directory,
            lower_links_of_root,
            put_name_in_file,
            put_name_in_removed_directory,
            name_directory_twice,
            change_parent,
            close_loop,
            give_bad_name,
            give_long_name,
            give_dots,
            be_of_another_mount,
            lower_serial,
            miscount,
            lose_counts,
            give_up_bytes,
            put_object_of_future,
            change_schema,
        )
    }
    | {
        "stray_checksum": stray("checksum", CHECKSUM),
        "stray_cut": stray("cut"),
        "stray_pin": stray("pin"),
        "stray_adopted": stray("adopted", "ino, original, size, mtime, ctime"),
        "stray_request": stray("request", "ino, prefix"),
        "stray_xattr": stray("xattr", "ino, name, value"),
        "odd_prefix": odd(b"empty", "prefix", 4097),
        "negative_prefix": odd(b"empty", "prefix", -4096),
        "negative_size": odd(b"empty", "size", -1),
        "no_type": odd(b"symlink", "mode", 0o644),
        "mode_bits": odd(b"empty", "mode", stat.S_IFREG | 1 << 20),
        "size_of_directory": odd(b"aside", "size", 0),
        "size_of_symlink": odd(b"symlink", "size", 5),
        "no_target": odd(b"symlink", "target", None),
        "target_of_file": odd(b"empty", "target", b"x"),
        "sparse_twice": odd(b"large", "sparse", 2),
        "sparse_and_empty": odd(b"empty", "sparse", 1),
        "mirrored_directory": odd(b"aside", "mirrored", 1),
        "device": odd(b"empty", "rdev", 7),
        "owner": odd(b"large", "uid", -1),
        "group": odd(b"large", "gid", 2**32),
        "version": odd(b"large", "version", -1),
    }
)
