#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "uring.h"

static bool write_reply(router *r, const struct iovec *parts, int count) {
    ssize_t written;
    do
        written = writev(r->device, parts, count);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

bool reply(router *r, uint64_t unique, const void *body, size_t length) {
    if (uring_reply(r->uring, unique, 0, body, length))
        return true;
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof header + length),
        .unique = unique,
    };
    struct iovec parts[] = {
        {&header, sizeof header},
        {(void *)(uintptr_t)body, length},
    };
    return write_reply(r, parts, length ? 2 : 1);
}

bool reply_error(router *r, uint64_t unique, int error) {
    if (uring_reply(r->uring, unique, error, NULL, 0))
        return true;
    struct fuse_out_header header = {
        .len = sizeof header,
        .error = -error,
        .unique = unique,
    };
    struct iovec part = {&header, sizeof header};
    return write_reply(r, &part, 1);
}

void reply_raw(router *r, const void *message, size_t length) {
    struct fuse_out_header header;
    memcpy(&header, message, sizeof header);
    const uint8_t *body = (const uint8_t *)message + sizeof header;
    int error = header.error == INT_MIN ? EIO : -header.error; /* the one that has no opposite */
    if (uring_reply(r->uring, header.unique, error, body, length - sizeof header))
        return;
    struct iovec part = {(void *)(uintptr_t)message, length};
    write_reply(r, &part, 1);
}

void end_connection(router *r) {
    static const uint64_t one = 1;
    ssize_t written = write(r->ended, &one, sizeof one);
    (void)written; /* an eventfd that is full is readable all the same */
}

ssize_t next_request(worker *w) {
    for (;;) {
        ssize_t size = read(w->router->device, w->request, w->router->buffer);
        if (size > 0)
            return size;
        if (size < 0 && errno == EAGAIN)
            return 0;
        /* ENOENT: the request was interrupted before it was read (fuse_dev_do_read). */
        if (size == 0 || (errno != EINTR && errno != ENOENT))
            return -1; /* ENODEV: unmounted, ECONNABORTED: aborted */
    }
}
