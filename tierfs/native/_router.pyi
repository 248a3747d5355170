"""The native router: it owns ``/dev/fuse``; it answers a request, makes an upcall, or forwards it.

Every method is safe from any thread; each takes the lock of the metadata cache for less than a
microsecond a row. Numbers are inode numbers, names are bytes without NUL.

A request that the cache does not answer is an upcall, see ``Router.set_upcalls``. A request that
has no function is forwarded to pyfuse3, which reads it from ``/dev/fd/PEER`` as from the kernel,
one message a packet: INIT and DESTROY, kinds that the router does not know, and OPEN, CREATE and
the like of a kernel that cannot do without (before Linux 5.1). ``fh`` is the inode number there.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self, TypeAlias

ANSWERED: Final[tuple[str, ...]]
"""Names of the requests that the router may answer, in the order of ``Counters.answered``."""

TIERS: Final[tuple[str, ...]]
"""What a request may wait for, by the numbers of ``Attributed``."""

BUCKETS: Final[tuple[float, ...]]
"""Upper bounds of the latency buckets, in seconds; one more bucket takes what is above them."""

class Answered(NamedTuple):
    """What was answered natively of one kind of request, since the start."""

    ok: int
    enodata: int
    erange: int
    einval: int
    seconds: float
    buckets: tuple[int, ...]
    """One count a bucket, not accumulated; the last is for what is above ``BUCKETS``."""

class Counters(NamedTuple):
    """What the router did since it started, and what it holds."""

    answered: tuple[Answered, ...]
    to_python: int
    """Requests that were upcalls or forwarded."""
    flash_bytes: int
    """Bytes read from flash objects."""
    disk_bytes: int
    """Bytes read from disk objects."""
    inodes: int
    """Inodes in the metadata cache."""
    dentries: int
    """Names in the metadata cache, negative entries included."""
    known_inodes: int
    """Inodes that the kernel knows: those with a lookup count."""
    memory: int
    """Bytes that the metadata cache takes."""
    evictions: int
    heat_lost: int
    """Reads not counted, since ``heat`` was not called in time."""
    prefetched: int
    """Names that readdirplus prefetch gave to the kernel."""
    resent: int
    """Requests that the kernel sent again, after a takeover."""

Attributed: TypeAlias = tuple[
    int, int, int, bytes, int, int, int, int, int, int, float, float, float, float
]
"""Thread, process, session, name, request (of ``ANSWERED``), tier (of ``TIERS``), directory, file,
requests, bytes, the seconds that they took, and those in which the thread had any; when the first
began and the last ended, as of time.monotonic().

Thread 0: of another PID namespace; process 0 as well: there was no room to tell threads apart.
A file is given for READs from disk, and where the directory (0) is not known."""

Row: TypeAlias = tuple[
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    bytes | None,
    int,
    int,
    int,
    int,
]
"""``tierfs.metadata.inodes.Inode``: ino, mode, uid, gid, nlink, size, rdev, atime, mtime, ctime,
prefix, version, parent, target, sparse, mirrored, btime, adopted. A subclass of tuple will do."""

class Router:
    """See the module. ``memory`` bounds the metadata cache in bytes; beyond it entries are evicted.

    ``heads`` and ``objects`` are descriptors of the directories of both object stores; they are
    duplicated.

    Raises:
        OSError: no descriptor or no memory.
    """

    def __new__(cls, *, memory: int, heads: int, objects: int) -> Self: ...

    # ------------------------------------------------------------ session
    def set_upcalls(self, functions: object, /) -> None:
        """Let requests be answered by methods of ``functions``; before ``start``.

        Which, with what arguments and what they return: the table in ``src/operations.c``. A
        request of which the method is missing is forwarded. A method fails by raising;
        ``failed(operation, error, seconds)`` then returns the number of the error, or None: the
        method would have to wait. Then it is called again with ``wait`` True, if it has that
        argument, in a thread of a pool. Where ``failed`` returns a function, that is called there
        instead, without an argument, for the value.

        ``ready()``, if there is one, tells whether the index can be used at once: it is called by
        the threads that read requests, which otherwise leave the upcall to a pool.
        ``never_waits()`` is called once by each thread that must not wait for a disk.

        Raises:
            RuntimeError: the router was started, or this was called before.
        """

    def use_pm_qos(self, device: int, latency_us: int, /) -> None:
        """Keep idle cores from states that take longer to leave, while requests come without pause.

        ``device`` is a descriptor of ``/dev/cpu_dma_latency``, which is duplicated: as long as
        spinning finds requests, ``latency_us`` is written to it, and -1 a millisecond after the
        last. Only the leading thread does, not the rings. Before ``start``.

        Raises:
            OSError: no descriptor.
            ValueError: ``latency_us`` is negative.
            RuntimeError: the router was started or stopped before.
        """

    def start(
        self,
        device: int,
        *,
        workers: int,
        spin_us: int,
        disk_threads: int,
        max_write: int,
        io_uring: bool,
        init: bytes = b"",
    ) -> tuple[int, int]:
        """Serve the FUSE device ``device``, which is taken over and closed in the end.

        ``io_uring``: let requests come by a ring for each core where the kernel offers it (6.14+,
        ``/sys/module/fuse/parameters/enable_uring``); by the device as ever where it does not.

        ``init``: the ``init()`` of the router that served the connection before, in a process that
        has ended. pyfuse3 gets it, its reply goes nowhere, and the kernel sends again what it has
        no reply to, with the highest bit of ``unique`` set. ``max_write`` must be what it was.

        Returns (peer, ended): ``/dev/fd/PEER`` is what pyfuse3 mounts; ``ended`` becomes readable
        when the kernel has ended the session or a thread failed. Both belong to the caller.

        Raises:
            OSError: a thread or a socket could not be made, or the kernel sends nothing again
                (before Linux 6.9); ``device`` is closed.
            ValueError: a number is out of its range; ``device`` stays the caller's.
            RuntimeError: the router was started or stopped before; likewise.
        """

    def init(self) -> bytes:
        """INIT as the kernel sent it, for ``start`` of the router that takes over; empty before."""

    def unique(self) -> int:
        """The number of the request whose upcall this thread is in; 0: it is in none.

        The highest bit is set if it was sent before, to a daemon that has ended.
        """

    def prefetch(self, mountpoint: bytes, device: int, /) -> None:
        """Start readdirplus prefetch of directories in which names are looked up; once.

        The mount at ``mountpoint`` has the device number ``device`` (``st_dev``); it must be
        served, since this uses it. A thread lists the directories through a copy of the mount.

        Raises:
            OSError: the mount cannot be copied (CAP_SYS_ADMIN), its directories not be opened by
                number (CAP_DAC_READ_SEARCH), or the router was stopped.
        """

    def stop(self) -> None:
        """End every thread and close the device; requests that have no reply yet are lost.

        Idempotent. The metadata cache stays readable.
        """

    # ------------------------------------------------------------ the metadata cache
    def put_inode(self, row: Row) -> None:
        """Cache an inode's attributes and placement, or replace them; keeps its cached xattrs."""

    def make_inode(self, row: Row) -> None:
        """The same of a new inode, before any reply has its attributes.

        In an upcall its sender is the first who gets them: it need not be told of its own changes.
        """

    def change_inode(self, row: Row) -> None:
        """Cache what a commit made of an inode.

        Writes FUSE_NOTIFY_INVAL_INODE, of the attributes alone, where the kernel may be about to
        cache older ones.
        """

    def drop_inode(self, ino: int) -> None:
        """Drop an inode, its names and its xattrs."""

    def put_dentry(self, parent: int, name: bytes, ino: int) -> None:
        """Cache a name; ``ino`` 0: a negative entry. A hit only while ``ino`` is cached."""

    def drop_dentry(self, parent: int, name: bytes) -> None:
        """Drop a name; the directory is then no longer complete."""

    def put_xattrs(self, ino: int, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Cache all extended attributes of a cached inode, in the order listxattr shows.

        Too large ones in all (over 8 KiB) are a miss. No effect on an inode that is not cached.
        """

    def drop_xattrs(self, ino: int) -> None:
        """Drop an inode's extended attributes."""

    def begin_fill(self, ino: int) -> bool:
        """A cache fill of a directory begins: its names are put one after the other.

        Until ``complete_fill``, what is evicted of it is remembered. False: it is complete.
        """

    def complete_fill(self, ino: int) -> bool:
        """All names are cached: any other does not exist. False: some were evicted meanwhile."""

    def put_listing(
        self, ino: int, cookie: int, rows: list[tuple[bytes, int, int, int]], end: bool, /
    ) -> None:
        """Cache in which order a directory lists what is behind ``cookie``.

        Rows of name, cookie, inode number and mode, cookies growing; ``end``: there is no more.
        A name is listed while the cache has it too, with the attributes that are cached; ``.`` and
        ``..``, of cookies 1 and 2, always.
        """

    def drop_listing(self, ino: int, /) -> None:
        """A name of the directory changed: no listing continues with an older page."""

    def is_known(self, ino: int, /) -> bool:
        """Whether the kernel has the inode in memory; invalidates the attributes that it has."""

    def write_back(self, ino: int, offset: int, length: int, /) -> None:
        """Have the kernel write its dirty pages of a range of bytes; waits for that."""

    def invalidate_name(self, parent: int, name: bytes, /) -> None:
        """Have the kernel look a name up again before it next believes what it is, or is not.

        It may wait for a request in the directory: not for a thread that serves requests.
        """

    def put_statfs(
        self, fields: tuple[int, int, int, int, int, int, int, int], valid_s: float
    ) -> None:
        """Cache blocks, bfree, bavail, files, ffree, bsize, namelen, frsize for ``valid_s``."""

    def clear(self) -> None:
        """Empty the metadata cache; lookup counts stay."""

    # ------------------------------------------------------------ lookup counts
    def add_lookups(self, ino: int, count: int = 1) -> None:
        """A reply of pyfuse3 gives the inode to the kernel."""

    def lookup_count(self, ino: int) -> int:
        """How many times replies gave the inode to the kernel, less what FORGETs gave back."""

    def orphan(self, ino: int) -> bool:
        """The inode lost its last name; True when the kernel does not know it either.

        Otherwise it is among those that ``forgotten`` returns later.
        """

    def forgotten(self) -> list[int]:
        """The inodes without a name whose lookup counts dropped to 0 since the last call."""

    # ------------------------------------------------------------ statistics
    def heat(self, limit: int) -> list[tuple[int, int, int]]:
        """(ino, reads, bytes) of files read natively since the last call; ``limit`` rows."""

    def first_reads(self, limit: int) -> list[tuple[int, int]]:
        """(ino, reach): how far READs of a file went from its beginning, in bytes, once they ended.

        Each once, ``limit`` rows. The reach may lie beyond the end of the file.
        """

    def watch(self, seconds: float, /) -> None:
        """Attribute requests to threads and directories, for so long from now on at least.

        Raises:
            ValueError: less than 0, or more than an hour.
        """

    def attributed(self) -> list[Attributed]:
        """What was attributed since the last call, each row once; a few thousand at most."""

    def counters(self) -> Counters:
        """A snapshot."""
