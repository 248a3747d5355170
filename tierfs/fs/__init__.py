"""The filesystem without FUSE: POSIX semantics by inode number, over an index and two tiers.

Synchronous, thread-safe, and free of FUSE types, so that all of it is tested without a mount. From
the top; a module imports only those below it::

    volume        two directories and an index: made, opened, closed
    filesystem    everything below put together; statfs
    recovery      what a mount does after an unclean end: reconcile, put back, reclaim
    checkpoint    the periodic sync of both tiers and the index
    adoption      names for files that exist: tierfs adopt; adoption_batch: those of a transaction
    attributes    stat, chmod, chown, utimens
    ranges        fallocate, SEEK_DATA and SEEK_HOLE, copy_file_range
    data          changes of the bytes of files: write, truncate, fsync
    reads         reads of them: beside migrations, from the mirror, damage
    object_writes what a change writes to the objects of a file
    mirrors       copies of heads on disk, beside writes and for fsync; spilling a head to disk
    migration     promotion, demotion and mirroring, each in steps that a crash may end;
                  migration_plan: the arithmetic of what one copies and frees
    shared        disk objects of adopted files: checked when read, copied before they change
    namespace     lookup, create, link, unlink, rename
    reclaim       frees objects of unlinked files and ends of truncated ones
    sync          syncs dirty files: one, or all
    dirty         the dirty set: its rows, descriptors, and what objects hold past the end
    xattrs        extended attributes, stored and virtual
    cache_fill    which directories go into the metadata cache as a whole
    activity      files read and changed, for the promotion planner
    allocation    the tier of a new file's first bytes
    tiers         both object stores: the bytes of a file on each, and copies between them
    directory     checks and steps of directories; listings
    lookup_counts the kernel's lookup counts; the router's ports of a volume
    locks         a lock for each inode, and in-flight migrations
    acl           access control lists in the kernel's format
    permissions   the caller of a request, and which mode bits a change clears
    identity      a volume's UUID and mount generation
    trust         whether others could change a volume
"""
