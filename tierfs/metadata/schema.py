"""The tables of the index, and the steps from an older shape to the present one.

``PRAGMA user_version`` holds the number of migrations applied. A migration, once released,
is never edited: a change of the schema is a new one at the end.
"""

from __future__ import annotations

APPLICATION_ID = 0x54494552
"""``TIER``: marks a database as an index (https://www.sqlite.org/pragma.html#pragma_application_id)."""

_INITIAL = """
PRAGMA application_id = 0x54494552;

-- One row: what is true of the index as a whole.
CREATE TABLE volume (
    -- always 1: there is one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- UUID of the volume, the one in the markers of both directories
    uuid TEXT NOT NULL,
    -- No serial at or above was ever handed out. Reserved in blocks, so that a crash skips
    -- numbers and never reuses one. Serials number inodes and directory cookies alike.
    next_serial INTEGER NOT NULL
) STRICT;

-- One row an inode: a file, directory, symbolic link, FIFO, socket or device.
CREATE TABLE inode (
    -- inode number, never reused; 1 is the root; also names the objects of a file
    ino INTEGER PRIMARY KEY,
    -- type and permission bits, as st_mode of stat(2)
    mode INTEGER NOT NULL,
    -- owner
    uid INTEGER NOT NULL,
    -- group
    gid INTEGER NOT NULL,
    -- link count; 0: unlinked, its objects wait to be removed
    nlink INTEGER NOT NULL,
    -- bytes of a file, or of a symbolic link's target; 4096 for a directory
    size INTEGER NOT NULL,
    -- device number of a device node, else 0
    rdev INTEGER NOT NULL,
    -- last access, modification and change: nanoseconds since the epoch; below -2^31 seconds,
    -- add 2^64: such a number stands for a time after 2262
    atime INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL,
    -- P: bytes [0, P) are read from flash, bytes [P, size) from disk
    prefix INTEGER NOT NULL,
    -- data version: grows with every change of the bytes or of P, guards every move
    version INTEGER NOT NULL,
    -- the directory of a directory; of anything else the directory it was last linked in,
    -- a hint from which its path is found
    parent INTEGER NOT NULL,
    -- target of a symbolic link, else NULL
    target BLOB,
    -- 1: the file may have a hole, so its blocks are counted in its objects; else 0
    sparse INTEGER NOT NULL,
    -- 1: the disk object holds the bytes [0, P) as well, durably, as they are on flash; else 0
    mirrored INTEGER NOT NULL
) STRICT;

-- Unlinked inodes are few: this index finds them at mount without a scan.
CREATE INDEX inode_orphan ON inode (ino) WHERE nlink = 0;

-- One row a file that was cut or moved, until its objects are trimmed: a crash leaks nothing.
CREATE TABLE cut (
    -- inode number
    ino INTEGER PRIMARY KEY
) STRICT;

-- One row a file that somebody pinned: it stays on flash.
CREATE TABLE pin (
    -- inode number
    ino INTEGER PRIMARY KEY,
    -- when the pin ends, in nanoseconds since the epoch; NULL: never
    until INTEGER
) STRICT;

-- One row a file that somebody asked to be moved, until it was.
CREATE TABLE request (
    -- inode number
    ino INTEGER PRIMARY KEY,
    -- the P that is asked for
    prefix INTEGER NOT NULL
) STRICT;

-- One row a directory entry; . and .. have none.
CREATE TABLE entry (
    -- inode number of the directory
    parent INTEGER NOT NULL,
    -- the name: any bytes but / and NUL, 255 at most
    name BLOB NOT NULL,
    -- inode number of what the name refers to
    ino INTEGER NOT NULL,
    -- place in a listing, newest first: grows with every entry made, kept when the name is
    -- replaced or renamed within the directory, so that a listing goes on where it was
    cookie INTEGER NOT NULL,
    PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX entry_listing ON entry (parent, cookie);

-- One row an extended attribute.
CREATE TABLE xattr (
    -- inode number
    ino INTEGER NOT NULL,
    -- full name with its namespace, such as user.label
    name BLOB NOT NULL,
    -- value, 64 KiB at most
    value BLOB NOT NULL,
    PRIMARY KEY (ino, name)
) STRICT, WITHOUT ROWID;

-- Serials below 16 are kept back: 1 is the root, 1 and 2 are the cookies of . and ..
INSERT INTO volume (id, uuid, next_serial) VALUES (1, '', 16);
"""

_DIRTY = """
-- The dirty set: one row a file whose bytes changed since they were last synced. After an unclean
-- end the lengths of its objects are its size; for any other file a short object is damage.
CREATE TABLE dirty (
    -- inode number
    ino INTEGER PRIMARY KEY,
    -- bytes that were synced, lowered by truncations: the file is never shorter
    size INTEGER NOT NULL,
    -- errno of a sync that failed: no later one succeeds; else 0
    error INTEGER NOT NULL
) STRICT;
"""


_FILE = "(mode & 0xF000 = 0x8000)"
_ON_FLASH = f"{_FILE} * min(size, prefix)"
_ON_DISK = f"{_FILE} * max(size - prefix, 0)"
_ALONE = f"(NOT mirrored) * {_ON_FLASH}"

COUNTS = ", ".join(
    f"coalesce(sum({term}), 0)"
    for term in (
        "1",
        _FILE,
        f"{_FILE} AND size > 0 AND prefix > 0",
        f"{_FILE} AND size > prefix",
        f"{_FILE} AND size > 0 AND prefix > 0 AND NOT mirrored",
        f"({_ON_FLASH}) >> 32",
        f"({_ON_FLASH}) & 0xFFFFFFFF",
        f"({_ON_DISK}) >> 32",
        f"({_ON_DISK}) & 0xFFFFFFFF",
        f"({_ALONE}) >> 32",
        f"({_ALONE}) & 0xFFFFFFFF",
    )
)
"""What the rows of the inode table come to, in the order of the columns of ``usage``."""

COUNTED = (
    *("inodes", "files", "flash_files", "disk_files", "alone_files"),
    *("flash_high", "flash_low", "disk_high", "disk_low", "alone_high", "alone_low"),
)
"""Those columns."""

_KEPT_COUNTS = f"""
-- One row: what all inodes come to. Kept in memory while the volume is open, and written here now
-- and then: to write it with every change would make each create cost a tenth more.
CREATE TABLE usage (
    -- always 1: there is one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- 1: the counts are right; 0: the volume is open, or was not closed, and they are somewhat old;
    -- 2: somewhat old too, for the volume was closed before they were counted again
    exact INTEGER NOT NULL,
    -- inodes of every type, unlinked ones too
    inodes INTEGER NOT NULL,
    -- regular files
    files INTEGER NOT NULL,
    -- files with bytes on flash
    flash_files INTEGER NOT NULL,
    -- files with bytes on disk
    disk_files INTEGER NOT NULL,
    -- files with bytes that only flash has: not mirrored
    alone_files INTEGER NOT NULL,
    -- Bytes on flash: 2^32 * flash_high + flash_low, so that it fits whatever the sizes: two sparse
    -- files may have 2^63 - 1 each.
    flash_high INTEGER NOT NULL,
    -- see flash_high
    flash_low INTEGER NOT NULL,
    -- bytes on disk, likewise
    disk_high INTEGER NOT NULL,
    -- see flash_high
    disk_low INTEGER NOT NULL,
    -- bytes that only flash has, likewise
    alone_high INTEGER NOT NULL,
    -- see flash_high
    alone_low INTEGER NOT NULL
) STRICT;

INSERT INTO usage SELECT 1, 1, {COUNTS} FROM inode;
"""  # noqa: S608 - SQL of our own

_PINNED_DIRECTORIES = """
-- 1: the inode is a directory, and the pin is of every file in and below it, now and later; else 0
ALTER TABLE pin ADD COLUMN below INTEGER NOT NULL DEFAULT 0;

-- Pinned directories are few, and asked for with every page of files.
CREATE INDEX pin_below ON pin (ino) WHERE below = 1;
"""

_GENERATIONS = """
-- One row: of which writable mount the index is. The markers say the same of the directories.
CREATE TABLE generation (
    -- always 1: there is one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- random UUID of the last writable mount; empty: there was none since there are generations
    current TEXT NOT NULL,
    -- the one that the markers are just being given; empty: none
    next TEXT NOT NULL
) STRICT;

INSERT INTO generation (id, current, next) VALUES (1, '', '');
"""

_BIRTH = """
-- when the inode was made, as ctime counts; 0: not known, since it was made before this was kept
ALTER TABLE inode ADD COLUMN btime INTEGER NOT NULL DEFAULT 0;
"""

_EXACT_LENGTHS = """
-- 1: both objects end where the file ends, durably, but for what was written since the row is
-- there: after an unclean end their lengths are believed. 0: they may be longer, because the file
-- was cut, and ``inode.size`` is an upper bound
ALTER TABLE dirty ADD COLUMN exact INTEGER NOT NULL DEFAULT 0;
"""

_DIRTY_FROM = """
-- Every regular file from this inode number on is in the dirty set as well, without a row: none of
-- its bytes is synced, and both objects end where it ends
ALTER TABLE volume ADD COLUMN dirty_from INTEGER NOT NULL DEFAULT 0;

UPDATE volume SET dirty_from = next_serial;
"""

_ANSWERED = """
-- One row a thread of a supervised daemon: its last request whose change could not be told from
-- what it left. A daemon that takes over may get the request again, if it has no reply yet.
CREATE TABLE answered (
    -- number of the thread, never of two daemons of one connection to the kernel
    thread INTEGER PRIMARY KEY,
    -- `unique` of the request, of the connection
    request INTEGER NOT NULL
) STRICT;
"""

FEED = """
-- The change feed: one row a change, written in its transaction while there is a reader. What a row
-- was changed to stands here; columns that the kind does not need are NULL.
CREATE TABLE feed (
    -- grows with every change; the last row is never trimmed, so that none is given out twice
    serial INTEGER PRIMARY KEY,
    -- of what: 1 inode, 3 dentry, 5 extended attribute, 7 pin, 9 row of the dirty set; one more: it
    -- is gone; 11: new files below this inode number are in the dirty set only by a row; 13 the
    -- original of an adopted file; 14: it has none any more
    kind INTEGER NOT NULL,
    -- inode number
    ino INTEGER NOT NULL,
    -- of an inode or a dentry
    parent INTEGER,
    -- of a dentry or an extended attribute
    name BLOB,
    -- value of an extended attribute; target of a symbolic link
    value BLOB,
    -- cookie of a dentry; ``pin.until``; ``dirty.error``; ``adopted.original``; ``inode.synced``
    number INTEGER,
    -- ``pin.below``; ``dirty.exact``
    flag INTEGER,
    -- of an inode; also ``dirty.size`` and ``adopted.size``
    size INTEGER,
    -- see ``inode.mode``
    mode INTEGER,
    -- see ``inode.uid``
    uid INTEGER,
    -- see ``inode.gid``
    gid INTEGER,
    -- see ``inode.nlink``
    nlink INTEGER,
    -- see ``inode.rdev``
    rdev INTEGER,
    -- see ``inode.atime``
    atime INTEGER,
    -- see ``inode.mtime``
    mtime INTEGER,
    -- see ``inode.ctime``
    ctime INTEGER,
    -- see ``inode.prefix``
    prefix INTEGER,
    -- see ``inode.version``
    version INTEGER,
    -- see ``inode.sparse``
    sparse INTEGER,
    -- see ``inode.mirrored``
    mirrored INTEGER,
    -- see ``inode.btime``
    btime INTEGER,
    -- see ``inode.adopted``
    adopted INTEGER
) STRICT;
"""
"""The table alone, for a copy of the feed."""

_FEEDS = f"""{FEED}
-- One row a reader of the feed.
CREATE TABLE feed_reader (
    -- what it is called by
    name TEXT PRIMARY KEY,
    -- it has dealt with every change up to this serial
    serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: which feed it is.
CREATE TABLE feed_state (
    -- always 1: there is one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- random UUID; another one after a restore or a repair, when serials do not go on
    generation TEXT NOT NULL
) STRICT;

INSERT INTO feed_state (id, generation) VALUES (1, lower(hex(randomblob(16))));
"""  # noqa: S608 - SQL of our own
_CHECKSUMS = """
-- One row a file of whose bytes checksums were taken: XXH3 with 128 bits, canonical (big-endian).
-- No file of the dirty set has a row that holds.
CREATE TABLE checksum (
    -- inode number
    ino INTEGER PRIMARY KEY,
    -- the data version for which it holds; with another one it says nothing
    version INTEGER NOT NULL,
    -- how many of the first bytes of the file ``head`` is of
    length INTEGER NOT NULL,
    -- their checksum, 16 bytes
    head BLOB NOT NULL,
    -- that of the whole file; NULL: not taken yet
    whole BLOB,
    -- when every copy was last found to be right, in nanoseconds since the epoch
    verified INTEGER NOT NULL,
    -- when it was found that bytes are wrong of which no copy is right, likewise; 0: none are
    lost INTEGER NOT NULL
) STRICT;

-- Such files are few, and counted for every status.
CREATE INDEX checksum_lost ON checksum (ino) WHERE lost != 0;

-- One row: how far the scrub is, which compares all bytes with their checksums.
CREATE TABLE scrub (
    -- always 1: there is one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- 0: no pass is under way; 1: one is; 2: it is paused
    state INTEGER NOT NULL,
    -- inode number behind which the pass continues
    position INTEGER NOT NULL,
    -- when the latest pass began, in nanoseconds since the epoch; 0: none has
    began INTEGER NOT NULL,
    -- when the last complete pass began: all files that it saw were verified since; 0: none was
    completed INTEGER NOT NULL,
    -- files that the latest pass has verified
    files INTEGER NOT NULL,
    -- their bytes, of every copy
    bytes INTEGER NOT NULL,
    -- copies that it healed
    healed INTEGER NOT NULL,
    -- files of which it found bytes that no copy has right
    lost INTEGER NOT NULL,
    -- files that it could not verify
    skipped INTEGER NOT NULL
) STRICT;

INSERT INTO scrub VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0);
"""

_ADOPTED = """
-- 1: the disk object is the whole file and may have names outside of the volume, whose owner
-- changes it as before: tierfs does not, and compares it with the row of adopted; else 0
ALTER TABLE inode ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0;

-- One row an adopted file: its original as it was when it was adopted, or looked at last.
CREATE TABLE adopted (
    -- inode number
    ino INTEGER PRIMARY KEY,
    -- inode number of the original in the filesystem of the disk tier; beyond 2^63 less 2^64
    original INTEGER NOT NULL,
    -- bytes that it has
    size INTEGER NOT NULL,
    -- last modification and change, as inode.mtime counts
    mtime INTEGER NOT NULL,
    -- see mtime
    ctime INTEGER NOT NULL
) STRICT;

-- A further name of a file that is adopted already is found by it.
CREATE INDEX adopted_original ON adopted (original);

-- Ranges of inode numbers whose disk objects are just being made of originals. After a crash an
-- inode without its object is forgotten, and an object without an inode removed: the original has
-- the bytes.
CREATE TABLE adopting (
    -- first inode number of the range
    first INTEGER PRIMARY KEY,
    -- the number behind its last
    end INTEGER NOT NULL
) STRICT;
"""

_FACTS = """
-- One row a header fact: what was read out of the first bytes of a file. It holds only while the
-- data version in fact_state is that of the inode.
CREATE TABLE fact (
    -- inode number
    ino INTEGER NOT NULL,
    -- what the fact is called, such as image.width
    key TEXT NOT NULL,
    -- an integer, a real number or a text; what the bytes do not prove has no row
    value ANY NOT NULL,
    PRIMARY KEY (ino, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX fact_value ON fact (key, value);

-- One row a file whose header was looked at.
CREATE TABLE fact_state (
    -- inode number
    ino INTEGER PRIMARY KEY,
    -- the data version of the bytes that were looked at; with another one no fact of the file holds
    data_version INTEGER NOT NULL,
    -- which extractor took the file for one of its own; empty: none did
    extractor TEXT NOT NULL,
    -- its version; where none did, a checksum of all extractors there were
    extractor_version INTEGER NOT NULL,
    -- why there are no facts; NULL: nothing failed. The file is tried again when its bytes or the
    -- extractor are others
    error TEXT,
    -- when it was looked at, in nanoseconds since the epoch
    extracted INTEGER NOT NULL
) STRICT;

-- Such files are few, and shown to people.
CREATE INDEX fact_error ON fact_state (ino) WHERE error IS NOT NULL;

-- One row: how far the pass over the files is that the change feed does not tell of.
CREATE TABLE fact_pass (
    -- always 1: there is one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- for which extractors it is: their names and versions
    extractors TEXT NOT NULL,
    -- inode number behind which it continues; -1: all files were looked at
    position INTEGER NOT NULL,
    -- the generation of the change feed that tells of all changes since it began
    generation TEXT NOT NULL
) STRICT;

INSERT INTO fact_pass VALUES (1, '', 0, '');

-- The facts of a file are removed with it.
CREATE TRIGGER fact_state_gone AFTER DELETE ON inode BEGIN
    DELETE FROM fact_state WHERE ino = OLD.ino;
END;

CREATE TRIGGER fact_gone AFTER DELETE ON fact_state BEGIN
    DELETE FROM fact WHERE ino = OLD.ino;
END;
"""

_SHORT_FEED = """
-- From now on ``feed`` holds the numbers of inodes alone, whose images are those of ``inode``. A
-- row of a dentry or an extended attribute that stands for its inodes, too, has a kind with 32
-- added. It takes three serials, and has the last of them.
"""

_SYNCED = """
-- Of a file that is in the dirty set without a row in ``dirty``: the bytes that an fsync made
-- durable, as ``dirty.size``. Of any other inode it says nothing
ALTER TABLE inode ADD COLUMN synced INTEGER NOT NULL DEFAULT 0;
"""

_ADOPTED_AT_ONCE = """
-- From now on a row of ``feed`` with the kind 15 stands for the names that were adopted into
-- ``parent`` with cookies from ``ino`` up to ``number``, for their originals and inodes, and for
-- the directory. It takes three serials for each cookie, and one more, which it has.
"""

_REDO = """
-- One row: which records of the redo log (index.db-redo) are not in the tables yet. A tierfs that
-- does not know the redo log must not open the index.
CREATE TABLE redo (
    -- always 1: there is one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- random number of the mount that wrote the redo log; 0: none did
    salt INTEGER NOT NULL,
    -- groups of transactions of that mount that are in the tables: records of the next one are not
    groups INTEGER NOT NULL
) STRICT;

INSERT INTO redo VALUES (1, 0, 0);
"""

MIGRATIONS: tuple[str, ...] = (
    _INITIAL,
    _DIRTY,
    _KEPT_COUNTS,
    _PINNED_DIRECTORIES,
    _GENERATIONS,
    _BIRTH,
    _EXACT_LENGTHS,
    _DIRTY_FROM,
    _ANSWERED,
    _FEEDS,
    _CHECKSUMS,
    _ADOPTED,
    _FACTS,
    _SHORT_FEED,
    _SYNCED,
    _ADOPTED_AT_ONCE,
    _REDO,
)
"""Migration N leads from ``user_version`` N to N + 1."""

VERSION = len(MIGRATIONS)
