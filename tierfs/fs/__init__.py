"""The filesystem without FUSE: POSIX semantics by inode number, over an index and two tiers.

Synchronous, thread-safe, and free of FUSE types, so that all of it is tested without a mount. From
the top; a module imports only those below it::

    volume        two directories and an index: made, opened, closed
    filesystem    everything below put together; statfs
    recovery      what a mount does after an unclean end: reconcile, put back, reclaim
    checkpoint    from time to time all becomes durable
    adoption      names for files that exist: tierfs adopt
    attributes    stat, chmod, chown, utimens
    ranges        fallocate, SEEK_DATA and SEEK_HOLE, copy_file_range
    data          the bytes of files: read, write, truncate, fsync
    mirrors       copies of heads on disk, beside writes and for fsync; spilling a head to disk
    migration     promotion, demotion and mirroring, each in steps that a crash may end;
                  migration_plan: the arithmetic of what one copies and frees
    shared        disk objects of adopted files: checked when read, copied before they change
    namespace     look up, make, link, unlink, rename
    reclaim       objects of unlinked files and ends of truncated ones are freed
    sync          dirty files are synced: one, or all
    dirty         the dirty set: its rows, descriptors, and what objects hold behind the end
    xattrs        extended attributes, stored and virtual
    cache_fill    which directories go into the metadata cache as a whole
    allocation    the tier of a new file's first bytes
    tiers         both object stores: bytes of a file at their places, and copies between them
    directory     checks and steps of directories; listings
    lookup_counts how often the kernel knows an inode; what a volume has of the router
    locks         a lock an inode, and in-flight migrations
    acl           access control lists, as the kernel has them
    permissions   who makes a request, and what of the mode changes with it
    identity      a volume's UUID and mount generation
    trust         whether others could change a volume
"""
