#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "life.h"
#include "payloads.h"
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
    r->payloads = payloads_new();
    r->listing = listing_new(memory / LISTINGS);
    r->prefetch = prefetch_new();
    if (!r->table || !r->payloads || !r->listing || !r->prefetch || heat_init(&r->heat) < 0) {
        errno = ENOMEM;
        return -1;
    }
    pthread_mutex_init(&r->statfs_lock, NULL);
    changing_init(&r->changing);
    pthread_mutex_init(&r->telling, NULL);
    pthread_mutex_init(&r->parking, NULL);
    pthread_cond_init(&r->needed, NULL);
    if (open_events(r) < 0 || store_open(&r->heads, heads) < 0 || store_open(&r->objects, objects) < 0)
        return -1;
    return 0;
}

int life_start(router *r, int device, unsigned workers, unsigned disk_threads, uint32_t max_write) {
    int peer;
    r->device = device; /* life_stop() closes it */
    if (fcntl(device, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(device, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    r->buffer = (max_write < LEAST_BUFFER ? LEAST_BUFFER : max_write) + REQUEST_HEADROOM;
    r->disk = disk_new(r, disk_threads);
    r->passing = r->disk ? passing_new(r, max_write, &peer) : NULL;
    if (!r->passing)
        return -1;
    if (workers_start(r, workers) < 0) {
        int error = errno;
        close(peer);
        errno = error;
        return -1;
    }
    return peer;
}

/* Threads first: they use everything else. The one that prefetches is a client, and like any other may
   wait for an answer until the connection is over, which it is when the device is closed. */
void life_stop(router *r) {
    workers_stop(r);
    disk_free(r->disk);
    r->disk = NULL;
    uring_close(r->uring);
    passing_free(r->passing);
    r->passing = NULL;
    pthread_mutex_lock(&r->telling);
    close_fd(&r->device);
    pthread_mutex_unlock(&r->telling);
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
    payloads_free(r->payloads);
    prefetch_free(r->prefetch);
    listing_free(r->listing);
    heat_free(&r->heat);
    uring_free(r->uring);
}
