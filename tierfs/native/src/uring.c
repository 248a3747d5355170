/* An entry of a queue holds one request at a time: the kernel fills it, and gets it back with the reply by
   COMMIT_AND_FETCH. Only the queue's own thread submits: others, as the one that brings the replies of pyfuse3,
   put entries with a reply into the queue's `replied` and wake it. */
#include "uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "worker.h"

/* ---------------------------------------------------------------- an io_uring of one thread */

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16) /* Linux 6.6: entries are used in order */
#endif

typedef struct {
    int fd;
    struct io_uring_params about;
    void *queues, *entries; /* both queues; the submission queue's entries, 128 bytes each */
    unsigned filled, submitted;
} ring;

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

static void ring_close(ring *r) {
    if (r->queues)
        munmap(r->queues, queues_size(r));
    if (r->entries)
        munmap(r->entries, entries_size(r));
    if (r->fd >= 0)
        close(r->fd);
    *r = (ring){.fd = -1};
}

/* -1 with errno: too old a kernel, forbidden (/proc/sys/kernel/io_uring_disabled), no memory.
   `entries` submissions may be under way at a time. */
static int ring_open(ring *r, unsigned entries) {
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
    ring_close(r);
    errno = error;
    return -1;
}

/* An entry to fill, all zero; submitted with the next ring_enter(). At most `entries` between two. */
static struct io_uring_sqe *ring_entry(ring *r) {
    size_t at = r->filled++ & (r->about.sq_entries - 1);
    return memset((uint8_t *)r->entries + at * ENTRY_BYTES, 0, ENTRY_BYTES);
}

/* Submits, and then sleeps, if `wait`, until there is a completion. -1: the ring is of no use. */
static int ring_enter(ring *r, bool wait) {
    __atomic_store_n(word(r, r->about.sq_off.tail), r->filled, __ATOMIC_RELEASE);
    long taken = syscall(SYS_io_uring_enter, r->fd, r->filled - r->submitted, wait ? 1 : 0,
                         IORING_ENTER_GETEVENTS, NULL, 0);
    if (taken > 0)
        r->submitted += (unsigned)taken;
    return taken < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY ? -1 : 0;
}

/* Looks without a system call. */
static bool ring_has_completion(const ring *r) {
    return __atomic_load_n(word(r, r->about.cq_off.tail), __ATOMIC_ACQUIRE) !=
           *word(r, r->about.cq_off.head);
}

/* Takes one; false when there is none. */
static bool ring_take(ring *r, struct io_uring_cqe *taken) {
    uint32_t *head = word(r, r->about.cq_off.head);
    const struct io_uring_cqe *cqes = (const void *)word(r, r->about.cq_off.cqes);
    if (!ring_has_completion(r))
        return false;
    *taken = cqes[*head & (r->about.cq_entries - 1)];
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return true;
}

/* ---------------------------------------------------------------- what FUSE puts into it */

/* include/uapi/linux/fuse.h of Linux 6.14 */
#define FLAG2_OVER_IO_URING (1U << 9) /* FUSE_OVER_IO_URING >> 32 */

enum { COMMAND_REGISTER = 1, COMMAND_COMMIT_AND_FETCH = 2 };

/* struct fuse_uring_cmd_req */
typedef struct {
    uint64_t flags, commit_id;
    uint16_t queue;
    uint8_t padding[6];
} command_data;

/* struct fuse_uring_req_header, and in it from `flags` on struct fuse_uring_ent_in_out */
typedef struct {
    uint8_t in_out[128]; /* fuse_in_header; for the reply fuse_out_header */
    uint8_t fields[128]; /* of the operation: what FUSE calls op_in */
    uint64_t flags, commit_id;
    uint32_t payload, padding;
    uint64_t reserved;
} headers;

_Static_assert(sizeof(command_data) == 24, "struct fuse_uring_cmd_req");
_Static_assert(offsetof(command_data, queue) == 16, "struct fuse_uring_cmd_req");
_Static_assert(sizeof(headers) == 288, "struct fuse_uring_req_header");
_Static_assert(offsetof(headers, fields) == 128 && offsetof(headers, flags) == 256, "struct fuse_uring_req_header");
_Static_assert(offsetof(headers, commit_id) == 264 && offsetof(headers, payload) == 272,
               "struct fuse_uring_ent_in_out");

enum {
    MOST_ENTRIES = 8,        /* of a queue: requests of one core at a time */
    LEAST_ENTRIES = 2,
    ALL_ENTRIES = 128,       /* of all queues, where there are many cores: each may take a megabyte */
    LONG_REPLY = 64 * 1024,  /* bytes of a reply that is submitted before the next request is handled */
};

typedef struct queue queue;
typedef struct entry entry;
struct entry {
    channel channel;
    STAILQ_ENTRY(entry) next;
    queue *queue;
    headers *headers;
    uint8_t *buffer; /* REQUEST_HEADROOM, then the payload */
    struct iovec parts[2];
};

/* What has no lock named its own thread alone uses. */
struct queue {
    uring *uring;
    unsigned number;
    ring ring;
    int wake; /* eventfd */
    uint64_t wakes;
    bool registered;
    bool urgent; /* what was submitted last should not wait */
    pthread_mutex_t lock;
    STAILQ_HEAD(, entry) replied; /* lock: by other threads */
    entry *entries;
    worker worker;
    uint8_t *aside; /* for a reply that is made while its request is still read */
};

struct uring {
    router *router;
    void (*serve)(worker *, channel *, size_t);
    unsigned count, depth, running; /* of the leader, and when it has ended of who stops */
    uint64_t spin_ns;
    _Atomic bool begun;
    queue *queues;
};

/* Of the static model: the other costs a call at each use, and memory that ld.so frees late. */
#define PER_THREAD static _Thread_local __attribute__((tls_model("initial-exec")))
PER_THREAD queue *mine;

static uint8_t *payload_of(const entry *e) {
    return e->buffer + REQUEST_HEADROOM;
}

/* ---------------------------------------------------------------- to the kernel */

static void submit(entry *e, uint32_t command) {
    struct io_uring_sqe *sqe = ring_entry(&e->queue->ring);
    command_data data = {.commit_id = e->headers->commit_id, .queue = (uint16_t)e->queue->number};
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = e->queue->uring->router->device.fd;
    sqe->cmd_op = command;
    sqe->user_data = (uint64_t)(uintptr_t)e;
    if (command == COMMAND_REGISTER) {
        sqe->addr = (uint64_t)(uintptr_t)e->parts;
        sqe->len = sizeof e->parts / sizeof *e->parts;
    }
    memcpy(sqe->cmd, &data, sizeof data);
}

static void await_wake(queue *q) {
    struct io_uring_sqe *sqe = ring_entry(&q->ring);
    sqe->opcode = IORING_OP_READ;
    sqe->fd = q->wake;
    sqe->addr = (uint64_t)(uintptr_t)&q->wakes;
    sqe->len = sizeof q->wakes;
}

static void wake(queue *q) {
    eventfd_write(q->wake, 1);
}

static void hand_in(entry *e) {
    queue *q = e->queue;
    if (q == mine) {
        q->urgent = q->urgent || e->headers->payload >= LONG_REPLY;
        submit(e, COMMAND_COMMIT_AND_FETCH);
        return;
    }
    pthread_mutex_lock(&q->lock);
    STAILQ_INSERT_TAIL(&q->replied, e, next);
    pthread_mutex_unlock(&q->lock);
    wake(q);
}

static bool ring_reply(channel *c, const struct fuse_out_header *header, const void *body, size_t length) {
    entry *e = (entry *)c;
    if (length && body != payload_of(e))
        memcpy(payload_of(e), body, length);
    memcpy(e->headers->in_out, header, sizeof *header);
    e->headers->payload = (uint32_t)length;
    hand_in(e);
    return true;
}

/* ---------------------------------------------------------------- from the kernel */

/* The kernel gives the header, the fields and the rest apart: the first two are put before the rest,
   as read(2) of the device has them. */
static void serve(entry *e) {
    struct fuse_in_header header;
    worker *w = &e->queue->worker;
    uint32_t rest = e->headers->payload;
    memcpy(&header, e->headers->in_out, sizeof header);
    size_t fields = header.len - sizeof header - rest;
    if (header.len < sizeof header || fields > sizeof e->headers->fields) {
        tfs_reply_error(&(request){.channel = &e->channel, .header = &header}, EIO);
        return;
    }
    w->request = payload_of(e) - fields - sizeof header;
    w->reply = rest ? e->queue->aside : payload_of(e);
    memcpy(w->request, &header, sizeof header);
    memcpy(w->request + sizeof header, e->headers->fields, fields);
    e->queue->uring->serve(w, &e->channel, header.len);
}

static void submit_replied(queue *q) {
    pthread_mutex_lock(&q->lock);
    for (entry *e; (e = STAILQ_FIRST(&q->replied));) {
        STAILQ_REMOVE_HEAD(&q->replied, next);
        submit(e, COMMAND_COMMIT_AND_FETCH);
    }
    pthread_mutex_unlock(&q->lock);
}

static void woken(queue *q) {
    await_wake(q);
    submit_replied(q);
    if (q->registered || !atomic_load(&q->uring->begun))
        return;
    q->registered = true;
    for (unsigned i = 0; i < q->uring->depth; i++)
        submit(&q->entries[i], COMMAND_REGISTER);
}

/* An entry that failed is not used again: ENOTCONN at the end; a REGISTER that fails makes the kernel
   go back to the device (fuse_uring_cmd). */
static int take_completions(queue *q) {
    struct io_uring_cqe done;
    while (ring_take(&q->ring, &done)) {
        entry *e = (entry *)(uintptr_t)done.user_data;
        if (!e) {
            woken(q);
        } else if (done.res >= 0) {
            serve(e);
            if (q->urgent && ring_enter(&q->ring, false) < 0)
                return -1;
            q->urgent = false;
        }
    }
    return 0;
}

/* As spin() in workers.c; the kernel delivers when sched_yield(2) returns. */
static int spin(queue *q) {
    if (!tfs_may_spin(&q->worker, q->uring->spin_ns))
        return 0;
    uint64_t until = now_ns() + q->uring->spin_ns;
    if (ring_enter(&q->ring, false) < 0)
        return -1;
    while (!ring_has_completion(&q->ring) && now_ns() < until && !is_stopping(q->uring->router))
        sched_yield();
    tfs_has_spun(&q->worker, ring_has_completion(&q->ring));
    return 0;
}

static void *run(void *argument) {
    queue *q = mine = argument;
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(q->number, &core);
    sched_setaffinity(0, sizeof core, &core); /* fails for a core that is not there yet: no harm */
    await_wake(q);
    while (!is_stopping(q->uring->router)) {
        if (spin(q) < 0 || ring_enter(&q->ring, !ring_has_completion(&q->ring)) < 0 ||
            take_completions(q) < 0) {
            end_session(q->uring->router); /* nobody would serve this core */
            break;
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- queues */

/* The kernel wants a queue for each core that there can ever be; 0: who knows. */
static unsigned possible_cores(void) {
    unsigned first = 1, last = 0;
    FILE *file = fopen("/sys/devices/system/cpu/possible", "re");
    if (!file)
        return 0;
    int found = fscanf(file, "%u-%u", &first, &last);
    bool more = fgetc(file) == ','; /* with a gap in the numbers */
    fclose(file);
    return found < 1 || first || more || last >= CPU_SETSIZE ? 0 : last + 1;
}

static bool make_entry(queue *q, entry *e) {
    size_t room = q->uring->router->buffer;
    e->queue = q;
    e->channel.reply = ring_reply;
    e->headers = calloc(1, sizeof *e->headers);
    e->buffer = aligned_alloc(BUFFER_ALIGNMENT, REQUEST_HEADROOM + room);
    e->parts[0] = (struct iovec){e->headers, sizeof *e->headers};
    e->parts[1] = (struct iovec){e->buffer + REQUEST_HEADROOM, room};
    return e->headers && e->buffer;
}

static bool make_queue(uring *u, unsigned number) {
    queue *q = &u->queues[number];
    *q = (queue){.uring = u, .number = number, .ring.fd = -1};
    q->worker.router = u->router;
    q->worker.counters = &q->worker.own;
    q->worker.by_ring = true;
    STAILQ_INIT(&q->replied);
    pthread_mutex_init(&q->lock, NULL);
    u->count++;
    q->wake = eventfd(0, EFD_CLOEXEC);
    q->aside = aligned_alloc(BUFFER_ALIGNMENT, u->router->buffer);
    q->entries = calloc(u->depth, sizeof *q->entries);
    if (q->wake < 0 || !q->aside || !q->entries || ring_open(&q->ring, 2 * u->depth) < 0)
        return false;
    for (unsigned i = 0; i < u->depth; i++)
        if (!make_entry(q, &q->entries[i]))
            return false;
    return true;
}

static bool start(uring *u) {
    while (u->running < u->count) {
        queue *q = &u->queues[u->running];
        if (tfs_thread_start(&q->worker.thread, "tierfs-ring", run, q))
            return false;
        u->running++;
    }
    return true;
}

static bool make_queues(uring *u, unsigned cores) {
    unsigned each = ALL_ENTRIES / cores;
    u->depth = each < LEAST_ENTRIES ? LEAST_ENTRIES : each > MOST_ENTRIES ? MOST_ENTRIES : each;
    u->queues = calloc(cores, sizeof *u->queues);
    while (u->queues && u->count < cores)
        if (!make_queue(u, u->count))
            return false;
    return u->queues && start(u);
}

uring *tfs_uring_new(router *r, void (*serve)(worker *, channel *, size_t)) {
    uring *u = calloc(1, sizeof *u);
    if (u) {
        u->router = r;
        u->serve = serve;
        u->spin_ns = r->spin_ns;
    }
    return u;
}

bool tfs_uring_agree(uring *u, uint32_t offered_flags2, struct fuse_init_out *out) {
    unsigned cores = u && offered_flags2 & FLAG2_OVER_IO_URING ? possible_cores() : 0;
    if (!cores || !make_queues(u, cores))
        return false; /* what was made is freed in the end */
    out->flags |= FUSE_INIT_EXT;
    out->flags2 |= FLAG2_OVER_IO_URING;
    return true;
}

bool tfs_uring_has_begun(const uring *u) {
    return u && atomic_load_explicit(&u->begun, memory_order_relaxed);
}

void tfs_uring_begin(uring *u) {
    atomic_store(&u->begun, true);
    for (unsigned i = 0; i < u->count; i++)
        wake(&u->queues[i]);
}

void tfs_uring_stop(uring *u) {
    for (unsigned i = 0; u && i < u->running; i++) {
        wake(&u->queues[i]);
        pthread_join(u->queues[i].worker.thread, NULL);
    }
    if (u)
        u->running = 0;
}

static void close_queue(queue *q, unsigned depth) {
    ring_close(&q->ring); /* first: the kernel knows the entries */
    if (q->wake >= 0)
        close(q->wake);
    q->wake = -1;
    for (unsigned i = 0; q->entries && i < depth; i++) {
        free(q->entries[i].headers);
        free(q->entries[i].buffer);
    }
    free(q->entries);
    free(q->aside);
    q->entries = NULL;
    q->aside = NULL;
}

void tfs_uring_close(uring *u) {
    for (unsigned i = 0; u && i < u->count; i++)
        close_queue(&u->queues[i], u->depth);
}

void tfs_uring_free(uring *u) {
    tfs_uring_close(u);
    for (unsigned i = 0; u && i < u->count; i++)
        pthread_mutex_destroy(&u->queues[i].lock);
    free(u ? u->queues : NULL);
    free(u);
}

void tfs_uring_count(uring *u, counters *sum) {
    bool begun = u && atomic_load(&u->begun);
    for (unsigned i = 0; begun && i < u->count; i++)
        tfs_counters_add(sum, &u->queues[i].worker.own);
}
