#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "disk.h"
#include "dispatch.h"
#include "forward.h"
#include "prefetch.h"
#include "reads.h"
#include "uring.h"
#include "worker.h"
#include "workers.h"

enum {
    LEAST_BUFFER = 68 * 1024, /* for a reply of pyfuse3 or a SETXATTR of 64 KiB (XATTR_SIZE_MAX) */
    LISTINGS = 8,             /* pages of listings get this share: the order of names takes a sixth of what they do */
};

void tfs_close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int tfs_session_init(router *r, size_t memory, int heads, int objects) {
    r->cache = tfs_cache_new(memory - memory / LISTINGS);
    r->listing = tfs_listing_new(memory / LISTINGS);
    r->prefetch = tfs_prefetch_new();
    if (!r->cache || !r->listing || !r->prefetch || tfs_heat_init(&r->heat) < 0 ||
        tfs_first_reads_init(&r->first_reads) < 0) {
        errno = ENOMEM;
        return -1;
    }
    tfs_attribution_init(&r->attribution);
    pthread_mutex_init(&r->statfs_lock, NULL);
    pthread_mutex_init(&r->in_flight.lock, NULL);
    pthread_mutex_init(&r->parking, NULL);
    pthread_cond_init(&r->needed, NULL);
    pthread_cond_init(&r->watch, NULL);
    r->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->ended = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->wake < 0 || r->ended < 0)
        return -1;
    return tfs_store_open(&r->flash_store, heads) < 0 ? -1 : tfs_store_open(&r->disk_store, objects);
}

/* Requests that the earlier daemon read, and did not reply to, come again, before all others: fuse_resend() in
   fs/fuse/dev.c puts them back into the queue. No other may have been read by now: it would come twice. */
static int resume(router *r, taken_over earlier) {
    if (tfs_forward_resume(r->forward, earlier.init, earlier.length) < 0)
        return -1;
    if (tfs_device_notify(&r->device, NOTIFY_RESEND, NULL, 0))
        return 0;
    errno = EOPNOTSUPP; /* before Linux 6.9; or the connection is over */
    return -1;
}

int tfs_session_start(router *r, int device, unsigned workers, unsigned disk_threads, uint32_t max_write,
                      taken_over earlier) {
    int peer;
    r->device.fd = device; /* tfs_session_stop() closes it */
    if (fcntl(device, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(device, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    r->buffer = (max_write < LEAST_BUFFER ? LEAST_BUFFER : max_write) + REQUEST_HEADROOM;
    pool_settings pool = tfs_worker_pool(r, "tierfs-disk", disk_threads, true);
    r->disk = tfs_disk_new(r, &pool);
    r->upcall_queue = r->disk ? tfs_upcall_queue_new(r) : NULL;
    r->forward = r->upcall_queue ? tfs_forward_new(r, max_write, &peer) : NULL;
    if (!r->forward)
        return -1;
    if ((earlier.length && resume(r, earlier) < 0) || tfs_workers_start(r, workers) < 0) {
        int error = errno;
        close(peer);
        errno = error;
        return -1;
    }
    return peer;
}

/* Threads first: they use everything else, and those that serve the disk may make upcalls. The one that
   prefetches is a client, and like any other may wait for a reply until the session is over, which it is
   when the device is closed. */
void tfs_session_stop(router *r) {
    tfs_workers_stop(r);
    tfs_disk_stop(r->disk);
    tfs_upcall_queue_free(r->upcall_queue);
    tfs_disk_free(r->disk);
    r->upcall_queue = NULL;
    r->disk = NULL;
    tfs_uring_close(r->uring);
    tfs_forward_free(r->forward);
    r->forward = NULL;
    tfs_device_close(&r->device);
    tfs_close_fd(&r->socket);
    tfs_prefetch_stop(r->prefetch);
}

void tfs_session_free(router *r) {
    tfs_close_fd(&r->wake);
    tfs_close_fd(&r->ended);
    tfs_pm_qos_close(&r->pm_qos);
    tfs_close_fd(&r->flash_store.directory);
    tfs_close_fd(&r->disk_store.directory);
    tfs_cache_free(r->cache);
    tfs_prefetch_free(r->prefetch);
    tfs_listing_free(r->listing);
    tfs_heat_free(&r->heat);
    tfs_first_reads_free(&r->first_reads);
    tfs_attribution_free(&r->attribution);
    tfs_uring_free(r->uring);
}

void tfs_session_count(router *r, counters *sum) {
    for (unsigned i = 0; i <= MOST_WORKERS; i++)
        tfs_counters_add(sum, &r->workers[i].own);
    tfs_counters_add(sum, &r->pool_counters);
    tfs_uring_count(r->uring, sum);
}
