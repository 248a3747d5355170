"""Every kind of finding, in one table, which the documentation repeats."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["loss", "damage", "leak", "note"]
"""``loss``: bytes of a file are gone. ``damage``: something is wrong, no byte is known to be gone.
``leak``: room or rows that nothing uses. ``note``: as a crash may leave it, harmless."""


class Kind(NamedTuple):
    """A kind of finding: its name, how bad it is, what it means, what to do."""

    name: str
    severity: Severity
    meaning: str
    advice: str


RESTORE = "restore the file from a backup, or delete it"
ANEW = "move the index away and `tierfs restore` it, or copy what can be read to a new volume"
COPY = "mount the volume, copy the file, check the copy, delete the original"
REPAIR = "`--repair`"

MISSING_OBJECT = Kind(
    "missing-object",
    "loss",
    "an object with bytes of the file is missing: reading them gives EIO",
    RESTORE,
)
SHORT_OBJECT = Kind(
    "short-object",
    "loss",
    "an object with bytes of the file ends too early: reading the rest gives EIO",
    RESTORE,
)
WRONG_BYTES = Kind(
    "wrong-bytes",
    "loss",
    "bytes of the file differ from their checksum, and no copy has them right",
    RESTORE,
)
CHANGED_OUTSIDE = Kind(
    "changed-outside",
    "loss",
    "its owner changed the original of an adopted file: what of it is not on flash gives EIO",
    "mount the volume, and take what the original is now with `tierfs adopt --refresh`",
)
UNREADABLE = Kind(
    "unreadable",
    "loss",
    "an object, a directory of them, or the index cannot be read; without it nothing is checked",
    "look for errors of the drive in the kernel's log, and check the filesystem below",
)
INDEX = Kind(
    "index",
    "damage",
    "SQLite finds the index damaged, which its device can read; the rest was not checked",
    ANEW,
)
SCHEMA = Kind(
    "schema",
    "damage",
    "a table of the index is not as tierfs makes it; the rest was not checked",
    ANEW,
)
GENERATION = Kind(
    "generation",
    "damage",
    "the index and the directories are of different mounts: one of them is an older copy",
    "restore what belongs together (`tierfs restore` makes an index that fits both directories); "
    "or `--repair`, which accepts what is there: no number that is "
    "in use is given again, and objects that the index does not know go to `lost+found`",
)
SERIAL = Kind(
    "serial",
    "damage",
    "numbers in use would be given to new files, over their bytes: the index is an old one",
    "mount nothing before; restore a newer index, or `--repair`, which skips these numbers",
)
ROOT = Kind("root", "damage", "the root directory is missing or wrong", ANEW)
ROW = Kind("row", "damage", "the inode has attributes that none can have", COPY)
BAD_NAME = Kind("bad-name", "damage", "no path can hold the name", ANEW)
DANGLING = Kind(
    "dangling",
    "damage",
    "a name of an inode that is not there: it is not listed, and cannot be made again",
    "`--repair` removes it where no object is left; else restore the index",
)
HOMELESS = Kind(
    "homeless",
    "damage",
    "names are in a directory that is not there, is removed, or is none",
    "`--repair` makes the directory again, unless its number is something else's",
)
UNNAMED = Kind(
    "unnamed",
    "damage",
    "the inode has no name: nothing can reach it, and nothing frees it",
    "`--repair` names it in the volume's `/lost+found`",
)
LINKS = Kind(
    "links",
    "damage",
    "the link count is not that of the names; too low, removing one name loses the file of all",
    REPAIR,
)
NAMES = Kind("names", "damage", "the directory has more than one name", ANEW)
PARENT = Kind("parent", "damage", "the directory is not where its row says", REPAIR)
CYCLE = Kind("cycle", "damage", "the directory is inside itself: no path leads to it", ANEW)
HEAD_LOST = Kind(
    "head-lost",
    "damage",
    "the flash object is missing or short, and its mirror on disk is whole",
    "`--repair` reads the file from disk from now on",
)
STALE_MIRROR = Kind(
    "stale-mirror",
    "damage",
    "the file counts as mirrored, and the mirror on disk is missing or short; flash is whole",
    "`--repair`, before it is evicted from flash",
)
MIRROR_DIFFERS = Kind(
    "mirror-differs",
    "damage",
    "the mirror on disk has other bytes than flash, which is what is read",
    "compare the file with a backup; a copy of it gets a new mirror",
)
WRONG_HEAD = Kind(
    "wrong-head",
    "damage",
    "the head on flash differs from its checksum or cannot be read, and its mirror is right",
    "mount the volume and run `tierfs scrub start`; or `--repair`, which reads the file from disk",
)
WRONG_MIRROR = Kind(
    "wrong-mirror",
    "damage",
    "the mirror on disk differs from its checksum or cannot be read, and the head is right",
    "mount the volume and run `tierfs scrub start`; or `--repair`, which makes it again later",
)
UNOWNED_OBJECT = Kind(
    "unowned-object",
    "leak",
    "an object of no file takes room; a power cut may leave one",
    "`--repair` moves it to `lost+found` in the tier's directory, where you can delete it",
)
UNUSED_OBJECT = Kind(
    "unused-object",
    "note",
    "an object of a file that has no bytes in that tier: nothing reads it",
    "nothing; `--repair` moves it to `lost+found` in the tier's directory",
)
FOREIGN = Kind(
    "foreign",
    "leak",
    "something in an object directory is not an object of tierfs",
    "look at it, and delete it",
)
STRAY_ROW = Kind(
    "stray-row",
    "leak",
    "an extended attribute, pin, request, pending truncation or checksum of no inode",
    REPAIR,
)
BAD_BACKUP = Kind(
    "bad-backup",
    "leak",
    "a backup of the index, or a copy of changes since one, cannot be read: it brings nothing back",
    "delete it, and make another with `tierfs backup`",
)
FEED_GAP = Kind(
    "feed-gap",
    "leak",
    "copied changes are missing behind the newest backup: a restore would not bring them back",
    "`tierfs backup`, which has all of them",
)
OLD_BACKUPS = Kind(
    "old-backups",
    "note",
    "the backups are of the index before a repair, a restore, or a time when nobody followed it",
    "nothing; the next mount makes one",
)
LEFTOVER = Kind(
    "leftover",
    "note",
    "an object is longer than the file needs: a write that was interrupted leaves it",
    "nothing; `--repair` lets the next mount trim it",
)
COUNTS = Kind(
    "counts",
    "note",
    "the counts that the index keeps of all inodes are wrong; `tierfs status` shows them",
    "`--repair` counts them again",
)

KINDS = (
    MISSING_OBJECT,
    SHORT_OBJECT,
    WRONG_BYTES,
    CHANGED_OUTSIDE,
    UNREADABLE,
    INDEX,
    SCHEMA,
    GENERATION,
    SERIAL,
    ROOT,
    ROW,
    BAD_NAME,
    DANGLING,
    HOMELESS,
    UNNAMED,
    LINKS,
    NAMES,
    PARENT,
    CYCLE,
    HEAD_LOST,
    STALE_MIRROR,
    MIRROR_DIFFERS,
    WRONG_HEAD,
    WRONG_MIRROR,
    UNOWNED_OBJECT,
    FOREIGN,
    STRAY_ROW,
    BAD_BACKUP,
    FEED_GAP,
    OLD_BACKUPS,
    UNUSED_OBJECT,
    LEFTOVER,
    COUNTS,
)
"""All of them, the worst first."""

HEALED_BY_SCRUB = frozenset({WRONG_HEAD, WRONG_MIRROR})
"""Damage that does not keep a volume from being mounted: a mount is what heals it."""
