/* An io_uring by the kernel's own calls (io_uring_setup(2), io_uring_enter(2)): for one thread. */
#ifndef TIERFS_RING_H
#define TIERFS_RING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int fd;
    struct io_uring_params about;
    void *queues, *entries; /* both queues; the submission queue's entries, 128 bytes each */
    unsigned filled, submitted;
} ring;

/* -1 with errno: too old a kernel, forbidden (/proc/sys/kernel/io_uring_disabled), no memory.
   `entries` submissions may be under way at a time. */
int tfs_ring_open(ring *r, unsigned entries);
void tfs_ring_close(ring *r);

/* An entry to fill, all zero; submitted with the next ring_enter. At most `entries` between two. */
struct io_uring_sqe *tfs_ring_entry(ring *r);
/* Submits, and then sleeps, if `wait`, until there is a completion. -1: the ring is of no use. */
int tfs_ring_enter(ring *r, bool wait);
/* Looks without a call. */
bool tfs_ring_has_completion(const ring *r);
/* Takes one; false when there is none. */
bool tfs_ring_take(ring *r, struct io_uring_cqe *taken);

#endif
