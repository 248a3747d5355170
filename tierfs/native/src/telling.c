#include "telling.h"

#include <string.h>

#include "told.h"

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
    tfs_table_heard(t, directory, header->pid);
    tfs_table_heard_of(t, header->nodeid, names, old, header->pid);
    if (old + 1 < length - fields)
        tfs_table_heard_of(t, directory, names + old + 1, length - fields - old - 2, header->pid);
}

void tfs_note_change(router *r, const request *q) {
    const struct fuse_in_header *header = q->header;
    if (!header->pid)
        return;
    if (header->opcode == FUSE_RENAME || header->opcode == FUSE_RENAME2)
        note_rename(r->table, q);
    tfs_table_heard(r->table, tfs_changed_inode(q), header->pid);
}

uint64_t tfs_changed_inode(const request *q) {
    struct fuse_copy_file_range_in in;
    uint32_t opcode = q->header->opcode;
    if ((opcode != FUSE_COPY_FILE_RANGE && opcode != NEWER_COPY_FILE_RANGE_64) || q->length < sizeof in)
        return q->header->nodeid;
    memcpy(&in, q->body, sizeof in);
    return in.nodeid_out;
}

void tfs_note_unseen(router *r, const request *q) {
    if (q->header->opcode == FUSE_LOOKUP || q->header->opcode == FUSE_READDIRPLUS)
        tfs_table_tell_any_unseen(r->table);
    else if (q->header->opcode == FUSE_GETATTR || q->header->opcode == NEWER_STATX)
        tfs_table_tell_unseen(r->table, q->header->nodeid);
}

void tfs_tell_kernel(router *r, uint64_t ino) {
    struct fuse_notify_inval_inode_out inode = {.ino = ino, .off = -1}; /* no byte */
    /* ENOENT: the kernel does not know the inode, and has nothing old. */
    tfs_device_notify(&r->device, FUSE_NOTIFY_INVAL_INODE, &inode, sizeof inode);
}

void tfs_write_back(router *r, uint64_t ino, uint64_t offset, uint64_t length) {
    struct fuse_notify_inval_inode_out range = {.ino = ino, .off = (int64_t)offset, .len = (int64_t)length};
    tfs_device_notify_and_wait(&r->device, FUSE_NOTIFY_INVAL_INODE, &range, sizeof range);
}
