#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Missing from the headers of older distributions. */
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16) /* Linux 6.6: entries are used in order */
#endif

enum { ENTRY_BYTES = 128 };

static uint32_t *word(const ring *r, uint32_t offset) {
    return (uint32_t *)(void *)((uint8_t *)r->queues + offset);
}

static size_t queues_size(const ring *r) {
    return r->about.cq_off.cqes + r->about.cq_entries * sizeof(struct io_uring_cqe);
}

static size_t entries_size(const ring *r) {
    return (size_t)r->about.sq_entries * ENTRY_BYTES;
}

static void *map(const ring *r, size_t size, off_t which) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, which);
    return at == MAP_FAILED ? NULL : at;
}

int tfs_ring_open(ring *r, unsigned entries) {
    *r = (ring){.about = {
                    .flags = IORING_SETUP_SQE128 | IORING_SETUP_CQSIZE | IORING_SETUP_NO_SQARRAY,
                    .cq_entries = 2 * entries,
                }};
    r->fd = (int)syscall(SYS_io_uring_setup, entries, &r->about);
    if (r->fd < 0)
        return -1;
    r->queues = map(r, queues_size(r), IORING_OFF_SQ_RING); /* one mapping since Linux 5.4 */
    r->entries = map(r, entries_size(r), IORING_OFF_SQES);
    if (r->queues && r->entries)
        return 0;
    int error = errno;
    tfs_ring_close(r);
    errno = error;
    return -1;
}

void tfs_ring_close(ring *r) {
    if (r->queues)
        munmap(r->queues, queues_size(r));
    if (r->entries)
        munmap(r->entries, entries_size(r));
    if (r->fd >= 0)
        close(r->fd);
    *r = (ring){.fd = -1};
}

struct io_uring_sqe *tfs_ring_entry(ring *r) {
    size_t at = r->filled++ & (r->about.sq_entries - 1);
    void *entry = (uint8_t *)r->entries + at * ENTRY_BYTES;
    return memset(entry, 0, ENTRY_BYTES);
}

int tfs_ring_enter(ring *r, bool wait) {
    __atomic_store_n(word(r, r->about.sq_off.tail), r->filled, __ATOMIC_RELEASE);
    long taken = syscall(SYS_io_uring_enter, r->fd, r->filled - r->submitted, wait ? 1 : 0,
                         IORING_ENTER_GETEVENTS, NULL, 0);
    if (taken > 0)
        r->submitted += (unsigned)taken;
    return taken < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY ? -1 : 0;
}

bool tfs_ring_has_completion(const ring *r) {
    return __atomic_load_n(word(r, r->about.cq_off.tail), __ATOMIC_ACQUIRE) !=
           *word(r, r->about.cq_off.head);
}

bool tfs_ring_take(ring *r, struct io_uring_cqe *taken) {
    uint32_t *head = word(r, r->about.cq_off.head);
    const struct io_uring_cqe *cqes = (const void *)word(r, r->about.cq_off.cqes);
    if (!tfs_ring_has_completion(r))
        return false;
    *taken = cqes[*head & (r->about.cq_entries - 1)];
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return true;
}
