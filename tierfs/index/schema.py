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

MIGRATIONS: tuple[str, ...] = (_INITIAL, _GENERATIONS)
"""Migration N leads from ``user_version`` N to N + 1."""

VERSION = len(MIGRATIONS)
