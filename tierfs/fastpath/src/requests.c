/* One request: checked, answered from the table, or passed on.

   The kernel is trusted to speak the protocol, and checked all the same: a field is read only when the
   message is long enough for it. What is not understood is passed on to libfuse, which refuses it. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "prefetch.h"
#include "router.h"

typedef enum { PASS, OK, FAILED } outcome;

static outcome fail(worker *w, const request *q, int error) {
    reply_error(w->router, q->header->unique, error);
    return FAILED;
}

/* The length of the string that starts at `at` and ends with the body, or 0. */
static size_t string_at(const request *q, size_t at) {
    if (q->length <= at || q->body[q->length - 1] != 0)
        return 0;
    return strnlen((const char *)q->body + at, q->length - at);
}

/* ---------------------------------------------------------------- names and attributes */

/* No name of an entry, but a way to ask for an inode by its number (tierfs/core/names.py). */
static bool is_number(const char *name, size_t length) {
    return (length == 1 && (name[0] == '.' || name[0] == '/')) ||
           (length == 2 && name[0] == '.' && name[1] == '.');
}

static void forget(worker *w, uint64_t ino, uint64_t times) {
    if (table_forget(w->router->table, ino, times))
        pass_forget(w->router, ino);
    prefetch_forget(w->router->prefetch, ino);
}

static outcome answer_lookup(worker *w, const request *q) {
    struct fuse_entry_out out;
    const char *name = (const char *)q->body;
    size_t length = string_at(q, 0);
    if (!length || length > NAME_MAX || is_number(name, length))
        return PASS;
    found result = table_lookup(w->router->table, q->header->nodeid, name, length, q->header->pid, &out);
    if (result == MISS)
        return PASS;
    if (!reply(w->router, q->header->unique, &out, sizeof out) && result == FOUND)
        forget(w, out.nodeid, 1); /* the kernel did not take it */
    if (result == FOUND)
        prefetch_saw(w->router->prefetch, q->header->nodeid);
    return OK;
}

static outcome answer_forget(worker *w, const request *q) {
    struct fuse_forget_in in;
    if (q->length < sizeof in)
        return PASS;
    memcpy(&in, q->body, sizeof in);
    forget(w, q->header->nodeid, in.nlookup);
    return OK;
}

static outcome answer_batch_forget(worker *w, const request *q) {
    struct fuse_batch_forget_in in;
    struct fuse_forget_one one;
    if (q->length < sizeof in)
        return PASS;
    memcpy(&in, q->body, sizeof in);
    size_t there = (q->length - sizeof in) / sizeof one;
    for (size_t i = 0; i < in.count && i < there; i++) {
        memcpy(&one, q->body + sizeof in + i * sizeof one, sizeof one);
        forget(w, one.nodeid, one.nlookup);
    }
    return OK;
}

/* The references of a listing that the kernel did not take. */
static void forget_listed(worker *w, const uint8_t *records, size_t length) {
    for (size_t at = 0; at < length;) {
        const struct fuse_direntplus *each = (const void *)(records + at);
        if (each->entry_out.nodeid)
            forget(w, each->entry_out.nodeid, 1);
        at += FUSE_DIRENTPLUS_SIZE(each);
    }
}

static outcome answer_getattr(worker *w, const request *q) {
    struct fuse_attr_out out;
    if (q->length < sizeof(struct fuse_getattr_in))
        return PASS;
    if (changing_has(&w->router->changing, q->header->nodeid) ||
        table_attributes(w->router->table, q->header->nodeid, q->header->pid, &out) != FOUND)
        return PASS;
    reply(w->router, q->header->unique, &out, sizeof out);
    return OK;
}

/* GETXATTR has a name behind its fields, LISTXATTR has none. */
static outcome answer_xattr(worker *w, const request *q) {
    struct fuse_getxattr_in in;
    bool list = q->header->opcode == FUSE_LISTXATTR;
    if (q->length < sizeof in)
        return PASS;
    memcpy(&in, q->body, sizeof in);
    size_t name_length = list ? 0 : string_at(q, sizeof in), length = 0;
    if (!list && !name_length)
        return PASS;
    found result = table_xattr(w->router->table, q->header->nodeid, (const char *)q->body + sizeof in,
                               name_length, w->reply, w->router->buffer, &length);
    if (result == MISS)
        return PASS;
    if (result == ABSENT)
        return fail(w, q, ENODATA);
    if (!in.size) {
        struct fuse_getxattr_out out = {.size = (uint32_t)length};
        reply(w->router, q->header->unique, &out, sizeof out);
        return OK;
    }
    if (length > in.size)
        return fail(w, q, ERANGE);
    reply(w->router, q->header->unique, w->reply, length);
    return OK;
}

static outcome answer_statfs(worker *w, const request *q) {
    router *r = w->router;
    pthread_mutex_lock(&r->statfs_lock);
    published_statfs now = r->statfs;
    pthread_mutex_unlock(&r->statfs_lock);
    if (q->started_ns >= now.until_ns)
        return PASS;
    reply(r, q->header->unique, &now.reply, sizeof now.reply);
    return OK;
}

/* ---------------------------------------------------------------- bytes */

/* ENOSYS once, and the kernel never asks again: it opens by itself, and makes files by MKNOD; it keeps
   cached pages from one open to the next, which is right as every change passes through it. */
static outcome refuse(worker *w, const request *q) {
    if (!passing_no_open(w->router->passing))
        return PASS;
    fail(w, q, ENOSYS);
    return OK;
}

/* FLUSH: there is nothing to flush on close(2), data were written through. IOCTL: pyfuse3 has none, and
   the kernel asks each time a program looks whether a file is a terminal, as Python's open() does. */
static outcome refuse_always(worker *w, const request *q) {
    fail(w, q, ENOSYS);
    return OK;
}

static void serve_read(worker *w, const struct fuse_in_header *header, const struct fuse_read_in *in,
                uint64_t started_ns, bool again) {
    router *r = w->router;
    placement file;
    size_t length;
    read_result result =
        read_file(r, &w->counters, header->nodeid, in, false, w->reply, &length, &file);
    if (result == READ_ASK) {
        ask_python(r, header, in, again); /* damage would go round for ever */
    } else if (result == READ_WAIT) {
        if (!disk_read(r->disk, header, in, started_ns))
            ask_python(r, header, in, true);
    } else {
        reply(r, header->unique, w->reply, length);
        count_answer(&w->counters, ANSWER_READ, true, started_ns);
        heat_add(&r->heat, header->nodeid, length);
        disk_anticipate(r->disk, header->nodeid, &file, in->offset, length);
    }
}

/* Many entries in one reply, each as a LOOKUP would give it. `again`: Python has published them, and
   where that did not help it is to list them itself. */
static void serve_listing(worker *w, const struct fuse_in_header *header, const struct fuse_read_in *in,
                          uint64_t started_ns, bool again) {
    router *r = w->router;
    size_t length;
    found result =
        listing_fill(r->listing, r->table, header->nodeid, in->offset, header->pid, w->reply, in->size,
                     &length);
    if (result != FOUND) {
        ask_python(r, header, in, again);
        return;
    }
    listing_stamp(r->listing, w->reply, length);
    if (!reply(r, header->unique, w->reply, length))
        forget_listed(w, w->reply, length);
    count_answer(&w->counters, ANSWER_READDIR, true, started_ns);
}

void serve_again(worker *w, const struct fuse_in_header *header, const struct fuse_read_in *in,
                 uint64_t started_ns) {
    if (header->opcode == FUSE_READ)
        serve_read(w, header, in, started_ns, true);
    else
        serve_listing(w, header, in, started_ns, true);
}

static void list(worker *w, const request *q, struct fuse_read_in *in) {
    in->offset = listing_cookie(in->offset);
    serve_listing(w, q->header, in, q->started_ns, false);
}

static bool handle_bytes(worker *w, const request *q) {
    struct fuse_read_in in;
    if (q->length < sizeof in)
        return false;
    memcpy(&in, q->body, sizeof in);
    if (in.size > w->router->buffer) /* more than was agreed on (max_pages of fuse_init_out) */
        reply_error(w->router, q->header->unique, EINVAL);
    else if (q->header->opcode == FUSE_READ)
        serve_read(w, q->header, &in, q->started_ns, false);
    else
        list(w, q, &in);
    return true;
}

/* ---------------------------------------------------------------- which is which */

typedef struct {
    outcome (*answer)(worker *, const request *);
    answer_kind kind;
} answerer;

static const answerer answerers[] = {
    [FUSE_LOOKUP] = {answer_lookup, ANSWER_LOOKUP},
    [FUSE_FORGET] = {answer_forget, ANSWER_FORGET},
    [FUSE_BATCH_FORGET] = {answer_batch_forget, ANSWER_FORGET},
    [FUSE_GETATTR] = {answer_getattr, ANSWER_GETATTR},
    [FUSE_GETXATTR] = {answer_xattr, ANSWER_GETXATTR},
    [FUSE_LISTXATTR] = {answer_xattr, ANSWER_LISTXATTR},
    [FUSE_STATFS] = {answer_statfs, ANSWER_STATFS},
    [FUSE_OPEN] = {refuse, ANSWER_OPEN},
    [FUSE_OPENDIR] = {refuse, ANSWER_OPEN},
    [FUSE_CREATE] = {refuse, ANSWER_OPEN},
    [FUSE_FLUSH] = {refuse_always, ANSWER_OPEN},
    [FUSE_IOCTL] = {refuse_always, ANSWER_OPEN},
};

static bool answer(worker *w, const request *q) {
    uint32_t opcode = q->header->opcode;
    if (opcode == FUSE_READ || opcode == FUSE_READDIRPLUS)
        return handle_bytes(w, q);
    if (opcode == FUSE_INTERRUPT)
        return true; /* has no reply, and pyfuse3 does nothing about it */
    if (opcode >= sizeof answerers / sizeof *answerers || !answerers[opcode].answer)
        return false;
    outcome result = answerers[opcode].answer(w, q);
    if (result != PASS)
        count_answer(&w->counters, answerers[opcode].kind, result == OK, q->started_ns);
    return result != PASS;
}

void handle(worker *w, size_t size) {
    struct fuse_in_header *header = (struct fuse_in_header *)(void *)w->request;
    if (size < sizeof *header)
        return; /* no message of FUSE, and nobody to answer */
    if (header->len != size) {
        reply_error(w->router, header->unique, EIO);
        return;
    }
    uint8_t *body = w->request + sizeof *header;
    request q = {header, body, size - sizeof *header, now_ns()};
    if (!answer(w, &q))
        pass_on(w, header, body, q.length);
}
