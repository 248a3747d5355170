#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "descriptors.h"
#include "pool.h"

bool tfs_reply(const request *q, const void *body, size_t length) {
    struct fuse_out_header header = {.len = (uint32_t)(sizeof header + length), .unique = q->header->unique};
    return !q->channel || q->channel->reply(q->channel, &header, body, length);
}

bool tfs_reply_error(const request *q, int error) {
    struct fuse_out_header header = {.len = sizeof header, .error = -error, .unique = q->header->unique};
    return !q->channel || q->channel->reply(q->channel, &header, NULL, 0);
}

static bool write_message(int fd, const struct fuse_out_header *header, const void *body, size_t length) {
    struct iovec parts[] = {
        {(void *)(uintptr_t)header, sizeof *header},
        {(void *)(uintptr_t)body, length},
    };
    ssize_t written;
    do
        written = writev(fd, parts, length ? 2 : 1);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

static bool device_reply(channel *c, const struct fuse_out_header *header, const void *body, size_t length) {
    return write_message(((device_channel *)c)->fd, header, body, length);
}

void tfs_device_init(device_channel *d, int fd) {
    *d = (device_channel){.channel.reply = device_reply, .fd = fd};
    pthread_mutex_init(&d->notifying, NULL);
}

void tfs_device_close(device_channel *d) {
    pthread_mutex_lock(&d->notifying);
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    pthread_mutex_unlock(&d->notifying);
}

typedef struct {
    int fd;
    const struct fuse_out_header *header;
    const void *body;
    size_t length;
} waiting_notification;

/* It waits for requests that are replied to by this daemon, or by the next one, which waits for the end of the
   descriptors of this one: so it has a table of its own, with this descriptor alone. */
static void *write_waiting(void *argument) {
    const waiting_notification *n = argument;
    if (!tfs_leave_descriptors((unsigned)n->fd + 1, ~0U))
        tfs_leave_descriptors(FIRST_DESCRIPTOR, (unsigned)n->fd - 1);
    write_message(n->fd, n->header, n->body, n->length);
    return NULL;
}

void tfs_device_notify_and_wait(device_channel *d, int32_t code, const void *body, size_t length) {
    struct fuse_out_header header = {.len = (uint32_t)(sizeof header + length), .error = code};
    pthread_t thread;
    pthread_mutex_lock(&d->notifying);
    int own = d->fd >= 0 ? fcntl(d->fd, F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR) : -1;
    pthread_mutex_unlock(&d->notifying);
    if (own < 0)
        return;
    waiting_notification n = {own, &header, body, length};
    if (tfs_thread_start(&thread, "tierfs-notify", write_waiting, &n))
        write_message(own, &header, body, length);
    else
        pthread_join(thread, NULL);
    close(own);
}

bool tfs_device_notify(device_channel *d, int32_t code, const void *body, size_t length) {
    struct fuse_out_header header = {.len = (uint32_t)(sizeof header + length), .error = code};
    pthread_mutex_lock(&d->notifying);
    bool taken = d->fd >= 0 && write_message(d->fd, &header, body, length);
    int error = d->fd >= 0 ? errno : ENODEV;
    pthread_mutex_unlock(&d->notifying);
    errno = error;
    return taken;
}

/* What a system call that reads a request returned, as tfs_device_read() says it; -2: it is to be made again. */
static ssize_t result_of(ssize_t size) {
    if (size > 0)
        return size;
    if (size < 0 && errno == EAGAIN)
        return 0;
    /* ENOENT: the request was interrupted before it was read (fuse_dev_do_read). */
    if (size < 0 && (errno == EINTR || errno == ENOENT))
        return -2;
    return -1; /* ENODEV: unmounted, ECONNABORTED: aborted */
}

ssize_t tfs_device_read(device_channel *d, uint8_t *buffer, size_t room) {
    ssize_t size;
    do
        size = result_of(read(d->fd, buffer, room));
    while (size == -2);
    return size;
}

ssize_t tfs_device_splice(device_channel *d, int pipe, size_t room) {
    ssize_t size;
    do
        size = result_of(splice(d->fd, NULL, pipe, NULL, room, 0));
    while (size == -2);
    return size;
}
