/* The kernel is trusted to speak the protocol, and checked all the same: a field is read only when the
   message is long enough for it. What is not understood becomes an upcall. */
#include "operations.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "disk.h"
#include "reads.h"

static verdict fail(const request *q, int error) {
    tfs_reply_error(q, error);
    return error == ENODATA ? FAILED_ENODATA : error == ERANGE ? FAILED_ERANGE : FAILED_EINVAL;
}

/* The length of the string that starts at `at` and ends with the body, or 0. */
static size_t string_at(const request *q, size_t at) {
    if (q->length <= at || q->body[q->length - 1] != 0)
        return 0;
    return strnlen((const char *)q->body + at, q->length - at);
}

/* ---------------------------------------------------------------- names and attributes */

/* Not a name, but a way to get an inode by its number (tierfs/fs/namespace.py). */
static bool is_by_number(const char *name, size_t length) {
    return (length == 1 && (name[0] == '.' || name[0] == '/')) ||
           (length == 2 && name[0] == '.' && name[1] == '.');
}

static verdict answer_lookup(worker *w, const request *q) {
    struct fuse_entry_out out;
    uint64_t parent = q->header->nodeid; /* once it is replied to, a ring may have the next request there */
    const char *name = (const char *)q->body;
    size_t length = string_at(q, 0);
    if (!length || length > NAME_MAX || is_by_number(name, length))
        return UPCALL;
    cache_result result = tfs_cache_lookup(w->router->cache, parent, name, length, q->header->pid, &out);
    if (result == MISS)
        return UPCALL;
    if (!tfs_reply(q, &out, sizeof out) && result == HIT)
        drop_lookups(w->router, out.nodeid, 1); /* the kernel did not take it */
    if (result == HIT)
        tfs_prefetch_note_lookup(w->router->prefetch, parent);
    return REPLIED;
}

static verdict answer_forget(worker *w, const request *q) {
    struct fuse_forget_in in;
    if (q->length < sizeof in)
        return FAILED_EINVAL;
    memcpy(&in, q->body, sizeof in);
    drop_lookups(w->router, q->header->nodeid, in.nlookup);
    return REPLIED;
}

static verdict answer_batch_forget(worker *w, const request *q) {
    struct fuse_batch_forget_in in;
    struct fuse_forget_one one;
    if (q->length < sizeof in)
        return FAILED_EINVAL;
    memcpy(&in, q->body, sizeof in);
    size_t there = (q->length - sizeof in) / sizeof one;
    for (size_t i = 0; i < in.count && i < there; i++) {
        memcpy(&one, q->body + sizeof in + i * sizeof one, sizeof one);
        drop_lookups(w->router, one.nodeid, one.nlookup);
    }
    return REPLIED;
}

static verdict answer_getattr(worker *w, const request *q) {
    struct fuse_attr_out out;
    if (q->length < sizeof(struct fuse_getattr_in))
        return UPCALL;
    if (tfs_cache_getattr(w->router->cache, q->header->nodeid, q->header->pid, &out) != HIT)
        return UPCALL;
    tfs_reply(q, &out, sizeof out);
    return REPLIED;
}

/* What the kernel sends instead of GETATTR where statx(2) wants the time of birth. */
static verdict answer_statx(worker *w, const request *q) {
    struct fuse_statx_out out;
    if (q->length < sizeof(struct fuse_statx_in))
        return UPCALL;
    if (tfs_cache_statx(w->router->cache, q->header->nodeid, q->header->pid, &out) != HIT)
        return UPCALL;
    tfs_reply(q, &out, sizeof out);
    return REPLIED;
}

/* GETXATTR has a name behind its fields, LISTXATTR has none. */
static verdict answer_xattr(worker *w, const request *q) {
    struct fuse_getxattr_in in;
    bool list = q->header->opcode == FUSE_LISTXATTR;
    if (q->length < sizeof in)
        return UPCALL;
    memcpy(&in, q->body, sizeof in);
    size_t name_length = list ? 0 : string_at(q, sizeof in), length = 0;
    if (!list && !name_length)
        return UPCALL;
    cache_result result = tfs_cache_getxattr(w->router->cache, q->header->nodeid, (const char *)q->body + sizeof in,
                                             name_length, w->reply, w->router->buffer, &length);
    if (result == MISS)
        return UPCALL;
    if (result == NEGATIVE)
        return fail(q, ENODATA);
    if (!in.size) {
        struct fuse_getxattr_out out = {.size = (uint32_t)length};
        tfs_reply(q, &out, sizeof out);
        return REPLIED;
    }
    if (length > in.size)
        return fail(q, ERANGE);
    tfs_reply(q, w->reply, length);
    return REPLIED;
}

static verdict answer_statfs(worker *w, const request *q) {
    router *r = w->router;
    pthread_mutex_lock(&r->statfs_lock);
    cached_statfs now = r->statfs;
    pthread_mutex_unlock(&r->statfs_lock);
    if (q->started_ns >= now.until_ns)
        return UPCALL;
    tfs_reply(q, &now.reply, sizeof now.reply);
    return REPLIED;
}

/* ---------------------------------------------------------------- bytes and listings */

/* False: it is malformed. More than was agreed on (max_pages of fuse_init_out) counts as that. */
static bool read_in(worker *w, const request *q, struct fuse_read_in *in) {
    if (q->length < sizeof *in)
        return false;
    memcpy(in, q->body, sizeof *in);
    return in->size <= w->router->buffer;
}

static verdict answer_read(worker *w, const request *q) {
    router *r = w->router;
    struct fuse_read_in in;
    placement file;
    size_t length;
    uint64_t ino = q->header->nodeid;
    if (!read_in(w, q, &in))
        return fail(q, EINVAL);
    tfs_first_reads_add(&r->first_reads, ino, in.offset, in.size, q->started_ns);
    read_result result = tfs_read_file(r, w->counters, ino, &in, false, w->reply, &length, &file);
    if (result != READ_DONE)
        return result == READ_WAIT ? WAIT_DISK : UPCALL;
    tfs_reply(q, w->reply, length);
    tfs_heat_add(&r->heat, ino, length);
    tfs_disk_read_ahead(r->disk, ino, &file, in.offset, length);
    return REPLIED;
}

/* The lookups of a listing that the kernel did not take. */
static void forget_listed(worker *w, const uint8_t *records, size_t length) {
    for (size_t at = 0; at < length;) {
        const struct fuse_direntplus *each = (const void *)(records + at);
        if (each->entry_out.nodeid)
            drop_lookups(w->router, each->entry_out.nodeid, 1);
        at += FUSE_DIRENTPLUS_SIZE(each);
    }
}

/* Many entries in one reply, each as a LOOKUP would give it. */
static verdict answer_listing(worker *w, const request *q) {
    router *r = w->router;
    struct fuse_read_in in;
    size_t length;
    if (!read_in(w, q, &in))
        return fail(q, EINVAL);
    cache_result result = tfs_listing_fill(r->listing, r->cache, q->header->nodeid, tfs_unstamp_cookie(in.offset),
                                           q->header->pid, w->reply, in.size, &length);
    if (result != HIT)
        return UPCALL;
    tfs_listing_stamp(r->listing, w->reply, length);
    if (!tfs_reply(q, w->reply, length))
        forget_listed(w, w->reply, length);
    return REPLIED;
}

/* RELEASE of a file without a name, the only one that is opened by a request of its own (TMPFILE). */
static verdict answer_release(worker *w, const request *q) {
    (void)w;
    tfs_reply(q, NULL, 0);
    return REPLIED;
}

/* ---------------------------------------------------------------- what is refused */

/* ENOSYS once, and the kernel never sends it again: it opens by itself, and makes files by MKNOD; it keeps
   cached pages from one open to the next, which is right as every change passes through it. */
static verdict refuse_open(worker *w, const request *q) {
    if (!atomic_load(&w->router->no_open))
        return UPCALL;
    tfs_reply_error(q, ENOSYS);
    return REPLIED;
}

/* FLUSH: there is nothing to flush on close(2), data were written through. IOCTL: pyfuse3 has none, and
   the kernel sends it each time a program looks whether a file is a terminal, as Python's open() does. */
static verdict refuse(worker *w, const request *q) {
    (void)w;
    tfs_reply_error(q, ENOSYS);
    return REPLIED;
}

/* INTERRUPT has no reply, and nobody would do anything about it. */
static verdict ignore(worker *w, const request *q) {
    (void)w, (void)q;
    return REPLIED;
}

/* ---------------------------------------------------------------- the table */

/* The letters of `arguments` (protocol.h): I, Q numbers of 32 and 64 bits, q with a sign; K a cookie; N a name;
   S a length, and V or D the bytes of that length; . and : 4 and 8 bytes that do not matter; ( ) a tuple; and
   by keyword C the caller, A `again`, W `wait`. */
static const operation operations[OPERATIONS] = {
    /* names */
    [FUSE_LOOKUP] = {"lookup", "NAW", REPLY_ENTRY, REQUEST_LOOKUP, .answer = answer_lookup},
    [FUSE_FORGET] = {.counted = REQUEST_FORGET, .answer = answer_forget},
    [FUSE_BATCH_FORGET] = {.counted = REQUEST_FORGET, .answer = answer_batch_forget},
    [FUSE_MKNOD] = {"mknod", "III.NC", REPLY_ENTRY, REQUEST_MKNOD, .changes = true},
    [FUSE_MKDIR] = {"mkdir", "IINC", REPLY_ENTRY, REQUEST_MKDIR, .changes = true},
    [FUSE_SYMLINK] = {"symlink", "NNC", REPLY_ENTRY, REQUEST_SYMLINK, .changes = true},
    [FUSE_LINK] = {"link", "QN", REPLY_ENTRY, REQUEST_LINK, .changes = true},
    [FUSE_UNLINK] = {"unlink", "N", REPLY_DONE, REQUEST_UNLINK, .changes = true},
    [FUSE_RMDIR] = {"rmdir", "N", REPLY_DONE, REQUEST_RMDIR, .changes = true},
    [FUSE_RENAME] = {"rename", "QNNC", REPLY_DONE, REQUEST_RENAME, .changes = true},
    [FUSE_RENAME2] = {"rename2", "QI.NNC", REPLY_DONE, REQUEST_RENAME, .changes = true},
    [FUSE_TMPFILE] = {"tmpfile", "III.C", REPLY_CREATED, REQUEST_TMPFILE, .changes = true},
    [FUSE_READLINK] = {"readlink", "", REPLY_BYTES, REQUEST_READLINK},
    [FUSE_READDIRPLUS] = {"readdir", ":KI.:..A", REPLY_LISTING, REQUEST_READDIR, .answer = answer_listing},
    [FUSE_FSYNCDIR] = {"fsyncdir", ":I.W", REPLY_DONE, REQUEST_FSYNCDIR, POOL_TRIED},

    /* attributes */
    [FUSE_GETATTR] = {"getattr", "..:AW", REPLY_ATTRIBUTES, REQUEST_GETATTR, .answer = answer_getattr},
    [FUSE_STATX] = {"getattr", "..:..AW", REPLY_STATX, REQUEST_STATX, .answer = answer_statx},
    [FUSE_SETATTR] = {"setattr", "(I.:Q:qq:II.I.II).CW", REPLY_ATTRIBUTES, REQUEST_SETATTR,
                      .writes = true, .changes = true},
    [FUSE_GETXATTR] = {"getxattr", "..NC", REPLY_XATTR, REQUEST_GETXATTR, .answer = answer_xattr},
    [FUSE_LISTXATTR] = {"listxattr", "..C", REPLY_XATTR, REQUEST_LISTXATTR, .answer = answer_xattr},
    [FUSE_SETXATTR] = {"setxattr", "SINVC", REPLY_DONE, REQUEST_SETXATTR, .changes = true},
    [FUSE_REMOVEXATTR] = {"removexattr", "NC", REPLY_DONE, REQUEST_REMOVEXATTR, .changes = true},
    [FUSE_STATFS] = {"statfs", "", REPLY_STATFS, REQUEST_STATFS, POOL_SYNC, .answer = answer_statfs},

    /* bytes */
    [FUSE_READ] = {"read", ":QI.:..AW", REPLY_BYTES, REQUEST_READ, .answer = answer_read},
    [FUSE_WRITE] = {"write", ":QS.:..DW", REPLY_WRITTEN, REQUEST_WRITE, .writes = true, .changes = true},
    [FUSE_FALLOCATE] = {"fallocate", ":QQI.W", REPLY_DONE, REQUEST_FALLOCATE, .writes = true, .changes = true},
    /* Not in the pool for disks: it may wait for WRITEs (tfs_write_back), which that one serves. */
    [FUSE_LSEEK] = {"lseek", ":qI.W", REPLY_OFFSET, REQUEST_LSEEK, POOL_SYNC},
    [FUSE_COPY_FILE_RANGE] = {"copy_file_range", ":QQ:QQ:W", REPLY_WRITTEN, REQUEST_COPY_FILE_RANGE,
                              .writes = true, .changes = true},
    [FUSE_COPY_FILE_RANGE_64] = {"copy_file_range_64", ":QQ:QQ:W", REPLY_OFFSET, REQUEST_COPY_FILE_RANGE,
                                  .writes = true, .changes = true},
    [FUSE_RELEASE] = {.counted = REQUEST_RELEASE, .answer = answer_release},
    [FUSE_FSYNC] = {"fsync", ":I.W", REPLY_DONE, REQUEST_FSYNC, POOL_TRIED},

    /* what is refused */
    [FUSE_OPEN] = {.counted = REQUEST_OPEN, .answer = refuse_open},
    [FUSE_OPENDIR] = {.counted = REQUEST_OPEN, .answer = refuse_open},
    [FUSE_CREATE] = {.counted = REQUEST_OPEN, .answer = refuse_open},
    [FUSE_FLUSH] = {.counted = REQUEST_OPEN, .answer = refuse},
    [FUSE_IOCTL] = {.counted = REQUEST_OPEN, .answer = refuse},
    [FUSE_INTERRUPT] = {.counted = REQUEST_KINDS, .answer = ignore},
};

const operation *tfs_operation_of(uint32_t opcode) {
    const operation *found = opcode < OPERATIONS ? &operations[opcode] : NULL;
    return found && (found->answer || found->function) ? found : NULL;
}
