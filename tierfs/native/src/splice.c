#include "splice.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    FIELDS = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in), /* before the bytes of a WRITE */
    LARGE = 128 * 1024, /* bytes of a WRITE that are worth the calls */
    PATIENCE = 8,       /* requests that are no large WRITE, after which read(2) is used again */
};

/* ---------------------------------------------------------------- the pipe */

/* It must hold whatever the device may give: else the kernel refuses that (EINVAL), or fails the request (EIO).
   Without CAP_SYS_RESOURCE there may be no pipe of that size (pipe-max-size). */
static bool open_pipe(worker *w) {
    splice_pipe *p = &w->pipe;
    if (p->ends[0] >= 0 || p->impossible)
        return !p->impossible;
    int room = (int)w->router->buffer;
    p->impossible = pipe2(p->ends, O_CLOEXEC) < 0 || fcntl(p->ends[0], F_SETPIPE_SZ, room) < room;
    if (p->impossible)
        tfs_splice_close(w);
    return !p->impossible;
}

void tfs_splice_close(worker *w) {
    splice_pipe *p = &w->pipe;
    for (int i = 0; i < 2; i++) {
        if (p->ends[i] >= 0)
            close(p->ends[i]);
        p->ends[i] = -1;
    }
    p->moved = p->left = 0;
}

static bool take(worker *w, uint8_t *into, size_t size) {
    while (size) {
        ssize_t taken = read(w->pipe.ends[0], into, size);
        if (taken <= 0 && !(taken < 0 && errno == EINTR))
            return false;
        into += taken > 0 ? taken : 0;
        size -= taken > 0 ? (size_t)taken : 0;
    }
    return true;
}

/* ---------------------------------------------------------------- a request */

/* A pipe that does not give what it was given cannot be: nobody could answer the request. */
static ssize_t read_by_pipe(worker *w) {
    ssize_t size = tfs_device_splice(&w->router->device, w->pipe.ends[1], w->router->buffer);
    if (size <= 0)
        return size;
    size_t first = (size_t)size < FIELDS ? (size_t)size : FIELDS;
    if (!take(w, w->request, first))
        return -1;
    w->pipe.left = (size_t)size - first;
    const struct fuse_in_header *header = (void *)w->request;
    bool stays = size >= LARGE && header->opcode == FUSE_WRITE && header->len == (size_t)size;
    return stays || tfs_splice_fetch(w) ? size : -1;
}

ssize_t tfs_splice_read(worker *w) {
    router *r = w->router;
    splice_pipe *p = &w->pipe;
    bool by_pipe = p->patience && open_pipe(w);
    ssize_t size = by_pipe ? read_by_pipe(w) : tfs_device_read(&r->device, w->request, r->buffer);
    if (size <= 0)
        return size;
    if (size >= LARGE && ((struct fuse_in_header *)(void *)w->request)->opcode == FUSE_WRITE)
        p->patience = PATIENCE;
    else if (p->patience)
        p->patience--;
    return size;
}

bool tfs_splice_has(const worker *w, const request *q) {
    return (w->pipe.moved || w->pipe.left) && (const uint8_t *)q->header == w->request;
}

uint8_t *tfs_splice_bytes(const worker *w) {
    return w->request + FIELDS;
}

static bool take_back(const splice_pipe *p, uint8_t *into, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t taken = pread(p->file, into + done, size - done, p->offset + (off_t)done);
        if (taken <= 0 && !(taken < 0 && errno == EINTR))
            return false;
        done += taken > 0 ? (size_t)taken : 0;
    }
    return true;
}

bool tfs_splice_fetch(worker *w) {
    splice_pipe *p = &w->pipe;
    size_t moved = p->moved, left = p->left;
    p->moved = p->left = 0;
    bool fetched = take_back(p, tfs_splice_bytes(w), moved);
    if (left && !take(w, tfs_splice_bytes(w) + moved, left))
        tfs_splice_close(w); /* what may be in it is of no use any more */
    else if (fetched)
        return true;
    return false;
}

ssize_t tfs_splice_to_file(worker *w, int file, off_t offset) {
    splice_pipe *p = &w->pipe;
    loff_t at = offset;
    int error = 0;
    p->file = file;
    p->offset = offset;
    while (p->left && !error) {
        ssize_t now = splice(p->ends[0], NULL, file, &at, p->left, 0);
        if (now > 0) {
            p->moved += (size_t)now;
            p->left -= (size_t)now;
        } else if (!now || errno != EINTR) {
            error = now ? errno : EIO;
        }
    }
    ssize_t put = p->moved ? (ssize_t)p->moved : -1;
    if (error && !tfs_splice_fetch(w)) {
        put = -1;
        error = EIO;
    }
    errno = error;
    return put;
}

void tfs_splice_detach(worker *w) {
    w->pipe.file = -1;
}

void tfs_splice_discard(worker *w) {
    w->pipe.moved = 0;
    if (w->pipe.left)
        tfs_splice_fetch(w);
}
