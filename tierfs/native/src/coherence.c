#include "coherence.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

/* FUSE_EXPIRE_ONLY of linux/fuse.h: a LOOKUP tells whether the name is what it was. A directory that is a mountpoint,
   or the current one of a program, stays what it is meanwhile. */
enum { EXPIRE_ONLY = 1 };

uint64_t tfs_changed_inode(const request *q) {
    struct fuse_copy_file_range_in in;
    uint32_t opcode = q->header->opcode;
    if ((opcode != FUSE_COPY_FILE_RANGE && opcode != FUSE_COPY_FILE_RANGE_64) || q->length < sizeof in)
        return q->header->nodeid;
    memcpy(&in, q->body, sizeof in);
    return in.nodeid_out;
}

/* ---------------------------------------------------------------- in-flight writes */

void tfs_in_flight_add(in_flight *all, uint64_t unique, uint64_t ino) {
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < MOST_IN_FLIGHT; i++) {
        if (!all->writes[i].unique) {
            all->writes[i].unique = unique;
            all->writes[i].ino = ino;
            atomic_fetch_add(&all->count, 1);
            break;
        }
    }
    pthread_mutex_unlock(&all->lock);
}

void tfs_in_flight_remove(in_flight *all, uint64_t unique) {
    if (!atomic_load(&all->count))
        return;
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < MOST_IN_FLIGHT; i++) {
        if (all->writes[i].unique == unique) {
            all->writes[i].unique = 0;
            atomic_fetch_sub(&all->count, 1);
            break;
        }
    }
    pthread_mutex_unlock(&all->lock);
}

bool tfs_in_flight_has(in_flight *all, uint64_t ino) {
    bool has = false;
    if (!atomic_load(&all->count))
        return false;
    pthread_mutex_lock(&all->lock);
    for (unsigned i = 0; i < MOST_IN_FLIGHT && !has; i++)
        has = all->writes[i].unique && all->writes[i].ino == ino;
    pthread_mutex_unlock(&all->lock);
    return has;
}

/* ---------------------------------------------------------------- invalidation */

/* Two directories, and the inodes that have the two names. */
static void note_rename(cache *c, const request *q) {
    uint64_t directory;
    const struct fuse_in_header *header = q->header;
    size_t fields = header->opcode == FUSE_RENAME ? sizeof(struct fuse_rename_in) : sizeof(struct fuse_rename2_in);
    if (q->length <= fields || q->body[q->length - 1])
        return;
    memcpy(&directory, q->body, sizeof directory); /* newdir, the first field of both */
    const char *names = (const char *)q->body + fields;
    size_t room = q->length - fields, old = strnlen(names, room);
    tfs_cache_received(c, directory, header->pid);
    tfs_cache_received_name(c, header->nodeid, names, old, header->pid);
    if (old + 1 < room)
        tfs_cache_received_name(c, directory, names + old + 1, room - old - 2, header->pid);
}

void tfs_note_change(router *r, const request *q) {
    const struct fuse_in_header *header = q->header;
    if (!header->pid)
        return;
    if (header->opcode == FUSE_RENAME || header->opcode == FUSE_RENAME2)
        note_rename(r->cache, q);
    tfs_cache_received(r->cache, tfs_changed_inode(q), header->pid);
}

static bool is_by_number(const request *q) {
    return q->header->opcode == FUSE_LOOKUP && q->length && q->body[0] == '.' &&
           (q->length == 2 || (q->length == 3 && q->body[1] == '.'));
}

void tfs_note_upcall(router *r, const request *q, bool again) {
    if (q->header->opcode == FUSE_GETATTR || q->header->opcode == FUSE_STATX)
        tfs_cache_add_unknown_recipient(r->cache, q->header->nodeid);
    else if ((again && (q->header->opcode == FUSE_LOOKUP || q->header->opcode == FUSE_READDIRPLUS)) || is_by_number(q))
        tfs_cache_add_unknown_recipients(r->cache);
}

bool tfs_is_known(router *r, uint64_t ino) {
    struct fuse_notify_inval_inode_out inode = {.ino = ino, .off = -1}; /* no byte */
    /* ENOENT: the kernel does not know the inode, and has nothing old (fuse_reverse_inval_inode). */
    return tfs_device_notify(&r->device, FUSE_NOTIFY_INVAL_INODE, &inode, sizeof inode) || errno != ENOENT;
}

void tfs_invalidate_attributes(router *r, uint64_t ino) {
    tfs_is_known(r, ino);
}

void tfs_invalidate_name(router *r, uint64_t parent, const char *name, size_t length) {
    struct {
        uint64_t parent; /* struct fuse_notify_inval_entry_out of Linux 6.2; before, the flags were ignored */
        uint32_t namelen, flags;
        char name[NAME_MAX + 1];
    } message = {.parent = parent, .namelen = (uint32_t)length, .flags = EXPIRE_ONLY};
    if (length > NAME_MAX)
        return;
    memcpy(message.name, name, length);
    tfs_device_notify_and_wait(
        &r->device, FUSE_NOTIFY_INVAL_ENTRY, &message, offsetof(__typeof__(message), name) + length + 1
    );
}

void tfs_write_back(router *r, uint64_t ino, uint64_t offset, uint64_t length) {
    struct fuse_notify_inval_inode_out range = {.ino = ino, .off = (int64_t)offset, .len = (int64_t)length};
    tfs_device_notify_and_wait(&r->device, FUSE_NOTIFY_INVAL_INODE, &range, sizeof range);
}
