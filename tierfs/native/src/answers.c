/* The kernel is trusted to speak the protocol, and checked all the same: a field is read only when the
   message is long enough for it. */
#include "answers.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static verdict fail(const request *q, int error) {
    tfs_reply_error(q, error);
    return FAILED;
}

/* The length of the string that starts at `at` and ends with the body, or 0. */
static size_t string_at(const request *q, size_t at) {
    if (q->length <= at || q->body[q->length - 1] != 0)
        return 0;
    return strnlen((const char *)q->body + at, q->length - at);
}

/* ---------------------------------------------------------------- names and attributes */

/* No name of an entry, but a way to ask for an inode by its number (tierfs/fs/namespace.py). */
static bool is_by_number(const char *name, size_t length) {
    return (length == 1 && (name[0] == '.' || name[0] == '/')) ||
           (length == 2 && name[0] == '.' && name[1] == '.');
}

verdict tfs_answer_lookup(worker *w, const request *q) {
    struct fuse_entry_out out;
    uint64_t parent = q->header->nodeid; /* once it is replied to, a ring may have the next request there */
    const char *name = (const char *)q->body;
    size_t length = string_at(q, 0);
    if (!length || length > NAME_MAX || is_by_number(name, length))
        return ASK;
    found result = tfs_table_lookup(w->router->table, parent, name, length, q->header->pid, &out);
    if (result == MISS)
        return ASK;
    if (!tfs_reply(q, &out, sizeof out) && result == FOUND)
        forget_inode(w->router, out.nodeid, 1); /* the kernel did not take it */
    if (result == FOUND)
        tfs_prefetch_saw(w->router->prefetch, parent);
    return DONE;
}

verdict tfs_answer_forget(worker *w, const request *q) {
    struct fuse_forget_in in;
    if (q->length < sizeof in)
        return FAILED;
    memcpy(&in, q->body, sizeof in);
    forget_inode(w->router, q->header->nodeid, in.nlookup);
    return DONE;
}

verdict tfs_answer_batch_forget(worker *w, const request *q) {
    struct fuse_batch_forget_in in;
    struct fuse_forget_one one;
    if (q->length < sizeof in)
        return FAILED;
    memcpy(&in, q->body, sizeof in);
    size_t there = (q->length - sizeof in) / sizeof one;
    for (size_t i = 0; i < in.count && i < there; i++) {
        memcpy(&one, q->body + sizeof in + i * sizeof one, sizeof one);
        forget_inode(w->router, one.nodeid, one.nlookup);
    }
    return DONE;
}

verdict tfs_answer_getattr(worker *w, const request *q) {
    struct fuse_attr_out out;
    if (q->length < sizeof(struct fuse_getattr_in))
        return ASK;
    if (tfs_table_attributes(w->router->table, q->header->nodeid, q->header->pid, &out) != FOUND)
        return ASK;
    tfs_reply(q, &out, sizeof out);
    return DONE;
}

/* What statx(2) asks instead of GETATTR where the time of birth is wanted. */
verdict tfs_answer_statx(worker *w, const request *q) {
    struct newer_statx_out out;
    if (q->length < sizeof(struct newer_statx_in))
        return ASK;
    if (tfs_table_statx(w->router->table, q->header->nodeid, q->header->pid, &out) != FOUND)
        return ASK;
    tfs_reply(q, &out, sizeof out);
    return DONE;
}

/* GETXATTR has a name behind its fields, LISTXATTR has none. */
verdict tfs_answer_xattr(worker *w, const request *q) {
    struct fuse_getxattr_in in;
    bool list = q->header->opcode == FUSE_LISTXATTR;
    if (q->length < sizeof in)
        return ASK;
    memcpy(&in, q->body, sizeof in);
    size_t name_length = list ? 0 : string_at(q, sizeof in), length = 0;
    if (!list && !name_length)
        return ASK;
    found result = tfs_table_xattr(w->router->table, q->header->nodeid, (const char *)q->body + sizeof in,
                               name_length, w->reply, w->router->buffer, &length);
    if (result == MISS)
        return ASK;
    if (result == ABSENT)
        return fail(q, ENODATA);
    if (!in.size) {
        struct fuse_getxattr_out out = {.size = (uint32_t)length};
        tfs_reply(q, &out, sizeof out);
        return DONE;
    }
    if (length > in.size)
        return fail(q, ERANGE);
    tfs_reply(q, w->reply, length);
    return DONE;
}

verdict tfs_answer_statfs(worker *w, const request *q) {
    router *r = w->router;
    pthread_mutex_lock(&r->statfs_lock);
    published_statfs now = r->statfs;
    pthread_mutex_unlock(&r->statfs_lock);
    if (q->started_ns >= now.until_ns)
        return ASK;
    tfs_reply(q, &now.reply, sizeof now.reply);
    return DONE;
}

/* ---------------------------------------------------------------- bytes and listings */

/* False: it is malformed. More than was agreed on (max_pages of fuse_init_out) counts as that. */
static bool read_in(worker *w, const request *q, struct fuse_read_in *in) {
    if (q->length < sizeof *in)
        return false;
    memcpy(in, q->body, sizeof *in);
    return in->size <= w->router->buffer;
}

verdict tfs_answer_read(worker *w, const request *q) {
    router *r = w->router;
    struct fuse_read_in in;
    placement file;
    size_t length;
    uint64_t ino = q->header->nodeid;
    if (!read_in(w, q, &in))
        return fail(q, EINVAL);
    read_result result = tfs_read_file(r, w->counters, ino, &in, false, w->reply, &length, &file);
    if (result != READ_DONE)
        return result == READ_WAIT ? WAIT_DISK : ASK;
    tfs_reply(q, w->reply, length);
    tfs_heat_add(&r->heat, ino, length);
    tfs_disk_anticipate(r->disk, ino, &file, in.offset, length);
    return DONE;
}

/* The references of a listing that the kernel did not take. */
static void forget_listed(worker *w, const uint8_t *records, size_t length) {
    for (size_t at = 0; at < length;) {
        const struct fuse_direntplus *each = (const void *)(records + at);
        if (each->entry_out.nodeid)
            forget_inode(w->router, each->entry_out.nodeid, 1);
        at += FUSE_DIRENTPLUS_SIZE(each);
    }
}

/* Many entries in one reply, each as a LOOKUP would give it. */
verdict tfs_answer_listing(worker *w, const request *q) {
    router *r = w->router;
    struct fuse_read_in in;
    size_t length;
    if (!read_in(w, q, &in))
        return fail(q, EINVAL);
    found result = tfs_listing_fill(r->listing, r->table, q->header->nodeid, tfs_listing_cookie(in.offset),
                                q->header->pid, w->reply, in.size, &length);
    if (result != FOUND)
        return ASK;
    tfs_listing_stamp(r->listing, w->reply, length);
    if (!tfs_reply(q, w->reply, length))
        forget_listed(w, w->reply, length);
    return DONE;
}

/* RELEASE of a file without a name, the only one that is opened by a request of its own (TMPFILE). */
verdict tfs_answer_release(worker *w, const request *q) {
    (void)w;
    tfs_reply(q, NULL, 0);
    return DONE;
}

/* ---------------------------------------------------------------- what is refused */

/* ENOSYS once, and the kernel never asks again: it opens by itself, and makes files by MKNOD; it keeps
   cached pages from one open to the next, which is right as every change passes through it. */
verdict tfs_refuse_open(worker *w, const request *q) {
    if (!atomic_load(&w->router->no_open))
        return ASK;
    tfs_reply_error(q, ENOSYS);
    return DONE;
}

/* FLUSH: there is nothing to flush on close(2), data were written through. IOCTL: pyfuse3 has none, and
   the kernel asks each time a program looks whether a file is a terminal, as Python's open() does. */
verdict tfs_refuse(worker *w, const request *q) {
    (void)w;
    tfs_reply_error(q, ENOSYS);
    return DONE;
}

/* INTERRUPT has no reply, and nobody would do anything about it. */
verdict tfs_ignore(worker *w, const request *q) {
    (void)w, (void)q;
    return DONE;
}
