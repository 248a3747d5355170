#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dispatch.h"
#include "forward.h"
#include "life.h"
#include "prefetch.h"
#include "uring.h"

enum {
    LEAST_BUFFER = 68 * 1024, /* for a reply of pyfuse3 or a SETXATTR of 64 KiB (XATTR_SIZE_MAX) */
    LISTINGS = 8,             /* of this share of the memory: the order of names takes a sixth of what they do */
};

void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int open_events(router *r) {
    r->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->ended = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return r->wake < 0 || r->ended < 0 ? -1 : 0;
}

/* Each thread's own arena (glibc) would keep what it freed from the others: the event loop and the
   leader publish in turn, and a full table would take its memory once for each. Neither allocates
   so often that it would wait for the other. */
static void share_memory(void) {
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 1);
#endif
}

int life_set_up(router *r, size_t memory, int heads, int objects) {
    share_memory();
    r->table = table_new(memory - memory / LISTINGS);
    r->listing = listing_new(memory / LISTINGS);
    r->prefetch = prefetch_new();
    if (!r->table || !r->listing || !r->prefetch || heat_init(&r->heat) < 0) {
        errno = ENOMEM;
        return -1;
    }
    pthread_mutex_init(&r->statfs_lock, NULL);
    changing_init(&r->changing);
    pthread_mutex_init(&r->parking, NULL);
    pthread_cond_init(&r->needed, NULL);
    pthread_cond_init(&r->watch, NULL);
    if (open_events(r) < 0 || store_open(&r->heads, heads) < 0 || store_open(&r->objects, objects) < 0)
        return -1;
    return 0;
}

int life_start(router *r, int device, unsigned workers, unsigned disk_threads, uint32_t max_write) {
    int peer;
    r->device.fd = device; /* life_stop() closes it */
    if (fcntl(device, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(device, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    r->buffer = (max_write < LEAST_BUFFER ? LEAST_BUFFER : max_write) + REQUEST_HEADROOM;
    r->disk = disk_new(r, disk_threads);
    r->calls = r->disk ? calls_new(r) : NULL;
    r->forward = r->calls ? forward_new(r, max_write, &peer) : NULL;
    if (!r->forward)
        return -1;
    if (workers_start(r, workers) < 0) {
        int error = errno;
        close(peer);
        errno = error;
        return -1;
    }
    return peer;
}

/* Threads first: they use everything else, and those that serve the disk may ask for calls. The one that
   prefetches is a client, and like any other may wait for an answer until the connection is over, which it is
   when the device is closed. */
void life_stop(router *r) {
    workers_stop(r);
    disk_stop(r->disk);
    calls_free(r->calls);
    disk_free(r->disk);
    r->calls = NULL;
    r->disk = NULL;
    uring_close(r->uring);
    forward_free(r->forward);
    r->forward = NULL;
    device_close(&r->device);
    close_fd(&r->socket);
    prefetch_stop(r->prefetch);
}

void life_free(router *r) {
    close_fd(&r->wake);
    close_fd(&r->ended);
    awake_close(&r->awake);
    close_fd(&r->heads.directory);
    close_fd(&r->objects.directory);
    table_free(r->table);
    prefetch_free(r->prefetch);
    listing_free(r->listing);
    heat_free(&r->heat);
    uring_free(r->uring);
}
