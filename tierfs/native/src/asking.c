/* What is asked of the table, in the form of FUSE's replies (include/uapi/linux/fuse.h). */
#include <string.h>
#include <sys/stat.h>

#include "table_parts.h"
#include "told.h"
#include "xattrs.h"

enum {
    SECOND = 1000000000,
    VALID_S = 86400, /* as tierfs/daemon/adapter.py: every change passes through the kernel */
    IO_SIZE = 128 * 1024, /* likewise: st_blksize */
    BLOCK = 4096,
    SECTORS_OF_BLOCK = 8,
};

static const int64_t EARLIEST = INT32_MIN; /* as tierfs/common/times.py: seconds */

/* Rounds down, as a time before 1970 needs it: nanoseconds are never negative (struct timespec). */
static uint64_t seconds_of(int64_t time, uint32_t *nanoseconds) {
    if (time < EARLIEST * SECOND) { /* none is kept before 1901: this one is after 2262 */
        *nanoseconds = (uint32_t)((uint64_t)time % SECOND);
        return (uint64_t)time / SECOND;
    }
    int64_t seconds = time / SECOND, rest = time % SECOND;
    *nanoseconds = (uint32_t)(rest < 0 ? rest + SECOND : rest);
    return (uint64_t)(rest < 0 ? seconds - 1 : seconds);
}

static uint64_t blocks_of(const attributes *row) {
    if (!S_ISREG(row->mode) && !S_ISDIR(row->mode))
        return 0;
    return (row->size / BLOCK + (row->size % BLOCK != 0)) * SECTORS_OF_BLOCK;
}

static struct fuse_attr attr_of(const attributes *row) {
    struct fuse_attr attr = {
        .ino = row->ino,
        .size = row->size,
        .blocks = blocks_of(row),
        .mode = row->mode,
        .nlink = row->nlink,
        .uid = row->uid,
        .gid = row->gid,
        .rdev = row->rdev,
        .blksize = IO_SIZE,
    };
    attr.atime = seconds_of(row->atime, &attr.atimensec);
    attr.mtime = seconds_of(row->mtime, &attr.mtimensec);
    attr.ctime = seconds_of(row->ctime, &attr.ctimensec);
    return attr;
}

struct fuse_entry_out tfs_entry_out_of(const attributes *row) {
    return (struct fuse_entry_out){
        .nodeid = row->ino,
        .entry_valid = VALID_S,
        .attr_valid = row->sparse ? 0 : VALID_S,
        .attr = attr_of(row),
    };
}

struct fuse_entry_out tfs_absent_entry(void) {
    return (struct fuse_entry_out){.entry_valid = VALID_S};
}

struct fuse_attr_out tfs_attr_out_of(const attributes *row) {
    return (struct fuse_attr_out){.attr_valid = row->sparse ? 0 : VALID_S, .attr = attr_of(row)};
}

static struct newer_sx_time sx_time_of(int64_t time) {
    struct newer_sx_time made = {0};
    made.tv_sec = (int64_t)seconds_of(time, &made.tv_nsec);
    return made;
}

struct newer_statx_out tfs_statx_out_of(const attributes *row) {
    return (struct newer_statx_out){
        .attr_valid = row->sparse ? 0 : VALID_S,
        .stat = {
            .mask = STATX_BASIC_STATS | (row->btime ? STATX_BTIME : 0),
            .blksize = IO_SIZE,
            .nlink = row->nlink,
            .uid = row->uid,
            .gid = row->gid,
            .mode = (uint16_t)row->mode,
            .ino = row->ino,
            .size = row->size,
            .blocks = blocks_of(row),
            .atime = sx_time_of(row->atime),
            .btime = sx_time_of(row->btime),
            .ctime = sx_time_of(row->ctime),
            .mtime = sx_time_of(row->mtime),
            /* as new_encode_dev() of the kernel has them in one number */
            .rdev_major = (row->rdev & 0xfff00) >> 8,
            .rdev_minor = (row->rdev & 0xff) | ((row->rdev >> 12) & 0xfff00),
        },
    };
}

static found absence(table *t, uint64_t parent, const entry *known, struct fuse_entry_out *out) {
    inode *directory = tfs_find_inode(t, parent);
    if (directory)
        tfs_touch(directory);
    if (!known && !(directory && directory->complete))
        return MISS;
    *out = tfs_absent_entry();
    return ABSENT;
}

static found look_up(table *t, uint64_t parent, const char *name, size_t length, uint32_t thread,
                     struct fuse_entry_out *out) {
    entry *known = tfs_find_entry(t, parent, name, length);
    if (!known || !known->target)
        return absence(t, parent, known, out);
    inode *target = known->target;
    if (tfs_references_add(&t->references, target->row.ino, 1) < 0)
        return MISS;
    tfs_touch(target);
    tfs_tell(t, target, thread);
    *out = tfs_entry_out_of(&target->row);
    return FOUND;
}

found tfs_table_lookup(table *t, uint64_t parent, const char *name, size_t length, uint32_t thread,
                   struct fuse_entry_out *out) {
    pthread_mutex_lock(&t->lock);
    found result = look_up(t, parent, name, length, thread, out);
    pthread_mutex_unlock(&t->lock);
    return result;
}

/* What the thread is told of an inode; false: not enough is known. */
static bool tell_row(table *t, uint64_t ino, uint32_t thread, attributes *out) {
    pthread_mutex_lock(&t->lock);
    inode *each = tfs_find_inode(t, ino);
    bool known = each && !each->row.sparse;
    if (known) {
        tfs_touch(each);
        tfs_tell(t, each, thread);
        *out = each->row;
    }
    pthread_mutex_unlock(&t->lock);
    return known;
}

found tfs_table_attributes(table *t, uint64_t ino, uint32_t thread, struct fuse_attr_out *out) {
    attributes row;
    if (!tell_row(t, ino, thread, &row))
        return MISS;
    *out = tfs_attr_out_of(&row);
    return FOUND;
}

found tfs_table_statx(table *t, uint64_t ino, uint32_t thread, struct newer_statx_out *out) {
    attributes row;
    if (!tell_row(t, ino, thread, &row))
        return MISS;
    *out = tfs_statx_out_of(&row);
    return FOUND;
}

found tfs_table_placement(table *t, uint64_t ino, placement *out) {
    pthread_mutex_lock(&t->lock);
    inode *each = tfs_find_inode(t, ino);
    bool known = each && S_ISREG(each->row.mode);
    if (known) {
        tfs_touch(each);
        *out = (placement){each->row.size, each->row.prefix, each->row.version};
    }
    pthread_mutex_unlock(&t->lock);
    return known ? FOUND : MISS;
}

found tfs_table_xattr(table *t, uint64_t ino, const char *name, size_t name_length, uint8_t *out,
                  size_t room, size_t *length) {
    found result = MISS;
    pthread_mutex_lock(&t->lock);
    inode *each = tfs_find_inode(t, ino);
    if (each && each->known_xattrs) {
        tfs_touch(each);
        result = name_length ? tfs_xattrs_value(each->xattrs, each->xattrs_length, name, name_length,
                                            out, room, length)
                             : tfs_xattrs_names(each->xattrs, each->xattrs_length, out, room, length);
    }
    pthread_mutex_unlock(&t->lock);
    return result;
}
