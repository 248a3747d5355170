#include "telling.h"

#include <string.h>

#include "table_parts.h"

enum { NOBODY = 0 };
#define SEVERAL UINT32_MAX /* or nobody knows whom */

/* ---------------------------------------------------------------- in the table */

bool shows_otherwise(const attributes *before, const attributes *now) {
    return before->size != now->size || before->atime != now->atime || before->mtime != now->mtime ||
           before->ctime != now->ctime || before->mode != now->mode || before->uid != now->uid ||
           before->gid != now->gid || before->nlink != now->nlink;
}

static uint32_t told(const table *t, const inode *each) {
    return each->told_era == t->era ? each->told : SEVERAL;
}

bool is_told(const table *t, const inode *each) {
    return told(t, each) != NOBODY;
}

void untell(const table *t, inode *each) {
    each->told = NOBODY;
    each->told_era = t->era;
}

void tell(const table *t, inode *each, uint32_t thread) {
    uint32_t before = told(t, each);
    each->told = thread && (before == NOBODY || before == thread) ? thread : SEVERAL;
    each->told_era = t->era;
}

static void tell_unseen(table *t, uint64_t ino) {
    pthread_mutex_lock(&t->lock);
    inode *each = find_inode(t, ino);
    if (each)
        tell(t, each, 0);
    pthread_mutex_unlock(&t->lock);
}

static void tell_any_unseen(table *t) {
    pthread_mutex_lock(&t->lock);
    t->era++;
    pthread_mutex_unlock(&t->lock);
}

static void has_heard(const table *t, inode *each, uint32_t thread) {
    if (each && told(t, each) == thread)
        untell(t, each);
}

static void heard(table *t, uint64_t ino, uint32_t thread) {
    pthread_mutex_lock(&t->lock);
    has_heard(t, find_inode(t, ino), thread);
    pthread_mutex_unlock(&t->lock);
}

static void heard_of(table *t, uint64_t parent, const char *name, size_t length, uint32_t thread) {
    pthread_mutex_lock(&t->lock);
    entry *each = find_entry(t, parent, name, length);
    if (each)
        has_heard(t, each->target, thread);
    pthread_mutex_unlock(&t->lock);
}

/* ---------------------------------------------------------------- requests */

/* Two directories, and the inodes that have the two names. */
static void note_rename(table *t, const request *q) {
    uint64_t directory;
    const struct fuse_in_header *header = q->header;
    const uint8_t *body = q->body;
    size_t length = q->length;
    size_t fields = header->opcode == FUSE_RENAME ? sizeof(struct fuse_rename_in)
                                                  : sizeof(struct fuse_rename2_in);
    if (length <= fields || body[length - 1])
        return;
    memcpy(&directory, body, sizeof directory); /* newdir, the first field of both */
    const char *names = (const char *)body + fields;
    size_t old = strnlen(names, length - fields);
    heard(t, directory, header->pid);
    heard_of(t, header->nodeid, names, old, header->pid);
    if (old + 1 < length - fields)
        heard_of(t, directory, names + old + 1, length - fields - old - 2, header->pid);
}

void note_change(router *r, const request *q) {
    const struct fuse_in_header *header = q->header;
    if (!header->pid)
        return;
    if (header->opcode == FUSE_RENAME || header->opcode == FUSE_RENAME2)
        note_rename(r->table, q);
    heard(r->table, header->nodeid, header->pid);
}

void note_unseen(router *r, const request *q) {
    if (q->header->opcode == FUSE_LOOKUP || q->header->opcode == FUSE_READDIRPLUS)
        tell_any_unseen(r->table);
    else if (q->header->opcode == FUSE_GETATTR)
        tell_unseen(r->table, q->header->nodeid);
}

void tell_kernel(router *r, uint64_t ino) {
    struct fuse_notify_inval_inode_out inode = {.ino = ino, .off = -1}; /* no byte */
    /* ENOENT: the kernel does not know the inode, and has nothing old. */
    device_notify(&r->device, FUSE_NOTIFY_INVAL_INODE, &inode, sizeof inode);
}
