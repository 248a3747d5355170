/* Upcalls are made by one worker at a time: Python's lock lets no more than one run, and who waits for it is woken
   more slowly than the upcall takes. The worker that reads a request makes its upcall itself, if no other makes any:
   so for a client that sends one request after the other no thread is woken. Requests that others read meanwhile they
   put into a queue, which the one that makes upcalls then takes on: it is in order, so that a GETATTR does not
   overtake an in-flight write (coherence.h).

   Such an upcall does not wait: where the index is being written to, it continues in the pool for the index, and
   where a disk or another change of the same file is needed, in the pool for disks. */
#include "dispatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coherence.h"
#include "disk.h"
#include "forward.h"
#include "operations.h"
#include "reads.h"
#include "splice.h"
#include "upcall.h"
#include "worker.h"

enum {
    INDEX_THREADS = 4,
    DISK_THREADS = 64,
    SYNC_THREADS = 16,
    COPIED = 64 * 1024, /* a request up to this length is copied where it has to wait; else it keeps its buffer */
    SPARE = 8,          /* buffers */
};

/* A request that waits. */
typedef struct waiting_request waiting_request;
struct waiting_request {
    job job;
    STAILQ_ENTRY(waiting_request) next;
    request request;
    const operation *operation;
    router *router;
    uint8_t *buffer; /* of its own; NULL: behind this structure, or with the channel */
};

struct upcall_queue {
    router *router;
    pthread_mutex_t lock;
    bool busy;                     /* lock: a worker makes upcalls */
    STAILQ_HEAD(, waiting_request) queue; /* lock: which it is to take on */
    uint8_t *spare[SPARE];         /* lock */
    unsigned spares;               /* lock */
    pool *index, *disk, *sync;
};

static void act(worker *w, request *q, const operation *op, verdict v);

/* ---------------------------------------------------------------- requests that wait */

static uint8_t *take_buffer(upcall_queue *u) {
    pthread_mutex_lock(&u->lock);
    uint8_t *taken = u->spares ? u->spare[--u->spares] : NULL;
    pthread_mutex_unlock(&u->lock);
    return taken ? taken : aligned_alloc(BUFFER_ALIGNMENT, u->router->buffer);
}

static void give_buffer(upcall_queue *u, uint8_t *buffer) {
    pthread_mutex_lock(&u->lock);
    bool kept = u->spares < SPARE;
    if (kept)
        u->spare[u->spares++] = buffer;
    pthread_mutex_unlock(&u->lock);
    if (!kept)
        free(buffer);
}

static void waiting_free(waiting_request *d) {
    tfs_upcall_drop(&d->request);
    if (d->buffer)
        give_buffer(d->router->upcall_queue, d->buffer);
    free(d);
}

static void waiting_drop(job *j) {
    waiting_free((waiting_request *)j);
}

static waiting_request *waiting_new(router *r, const request *q, const operation *op, size_t copied) {
    waiting_request *d = malloc(sizeof *d + copied);
    if (d)
        *d = (waiting_request){.job.drop = waiting_drop, .request = *q, .operation = op, .router = r};
    return d;
}

/* Keeps a request for later; the worker's buffer may be used again then. NULL without memory. */
static waiting_request *keep_waiting(worker *w, const request *q, const operation *op) {
    if (tfs_splice_has(w, q) && !tfs_splice_fetch(w))
        return NULL;
    size_t size = sizeof *q->header + q->length;
    bool swaps = (const uint8_t *)q->header == w->request && !w->by_ring && size > COPIED;
    uint8_t *other = swaps ? take_buffer(w->router->upcall_queue) : NULL;
    if (swaps && !other)
        return NULL;
    waiting_request *d = waiting_new(w->router, q, op, w->by_ring || swaps ? 0 : size);
    if (!d) {
        free(other);
        return NULL;
    }
    if (swaps) {
        d->buffer = w->request;
        w->request = other;
    } else if (!w->by_ring) {
        uint8_t *copy = memcpy(d + 1, q->header, size);
        d->request.header = (void *)copy;
        d->request.body = copy + sizeof *q->header;
    }
    return d;
}

static void reply_no_memory(router *r, const request *q) {
    uint64_t unique = q->header->unique;
    tfs_reply_error(q, ENOMEM);
    tfs_in_flight_remove(&r->in_flight, unique);
}

static void queue_to(pool *p, waiting_request *d, void (*run)(job *, void *)) {
    d->job.run = run;
    if (tfs_pool_add(p, &d->job))
        return;
    reply_no_memory(d->router, &d->request);
    waiting_free(d);
}

/* ---------------------------------------------------------------- upcalls */

/* `again`: the cache was filled, and missed all the same. UPCALL_REPLIED also where the cache had it in the end. */
static upcall_result upcall(worker *w, request *q, const operation *op, bool again) {
    uint64_t unique = q->header->unique; /* after the reply a ring may have the next request there */
    for (;; again = true) {
        upcall_result result = tfs_upcall_make(w->router->upcalls, w, q, op, again);
        if (result == UPCALL_INDEX_BUSY || result == UPCALL_WOULD_BLOCK)
            return result;
        verdict v = result == UPCALL_FILLED ? op->answer(w, q) : REPLIED;
        if (result == UPCALL_FILLED && v != UPCALL)
            act(w, q, op, v);
        if (v != UPCALL)
            break;
    }
    tfs_in_flight_remove(&w->router->in_flight, unique);
    return UPCALL_REPLIED;
}

static void run_for_disk(job *j, void *thread) {
    waiting_request *d = (waiting_request *)j;
    upcall(thread, &d->request, d->operation, false);
    waiting_free(d);
}

static void run_for_index(job *j, void *thread);

/* To where it may wait. */
static void requeue(upcall_queue *u, waiting_request *d, upcall_result why) {
    if (why == UPCALL_INDEX_BUSY)
        queue_to(u->index, d, run_for_index);
    else
        queue_to(d->operation->pool == POOL_TRIED ? u->sync : u->disk, d, run_for_disk);
}

static void run_for_index(job *j, void *thread) {
    waiting_request *d = (waiting_request *)j;
    if (upcall(thread, &d->request, d->operation, false) == UPCALL_REPLIED)
        waiting_free(d);
    else
        requeue(d->router->upcall_queue, d, UPCALL_WOULD_BLOCK);
}

/* The worker makes upcalls now, if no other does; else that one takes on `d`, if there is one. */
static bool enter(upcall_queue *u, waiting_request *d) {
    pthread_mutex_lock(&u->lock);
    bool entered = !u->busy;
    u->busy = true;
    if (d && !entered)
        STAILQ_INSERT_TAIL(&u->queue, d, next);
    pthread_mutex_unlock(&u->lock);
    return entered;
}

/* The next of the queue; NULL: there is none, and nobody makes upcalls any more. */
static waiting_request *next_or_leave(upcall_queue *u) {
    pthread_mutex_lock(&u->lock);
    waiting_request *d = STAILQ_FIRST(&u->queue);
    if (d)
        STAILQ_REMOVE_HEAD(&u->queue, next);
    else
        u->busy = false;
    pthread_mutex_unlock(&u->lock);
    return d;
}

/* For one request, which is still in the worker's buffer or waits, and then for all that are queued. */
static void make_upcalls(worker *w, request *q, const operation *op, waiting_request *d) {
    upcall_queue *u = w->router->upcall_queue;
    tfs_busy_end(w);
    tfs_upcall_begin(w);
    if (!d) {
        upcall_result result = upcall(w, q, op, false);
        if (result != UPCALL_REPLIED) {
            d = keep_waiting(w, q, op);
            if (d)
                requeue(u, d, result);
            else
                reply_no_memory(w->router, q);
        }
        tfs_splice_discard(w);
        d = next_or_leave(u);
    }
    for (; d; d = next_or_leave(u)) {
        tfs_upcall_next(w);
        upcall_result result = upcall(w, &d->request, d->operation, false);
        if (result == UPCALL_REPLIED)
            waiting_free(d);
        else
            requeue(u, d, result);
    }
    tfs_upcall_end(w);
}

static void upcall_or_queue(worker *w, request *q, const operation *op) {
    upcall_queue *u = w->router->upcall_queue;
    if (enter(u, NULL)) {
        make_upcalls(w, q, op, NULL);
        return;
    }
    waiting_request *d = keep_waiting(w, q, op);
    if (!d)
        reply_no_memory(w->router, q);
    else if (enter(u, d))
        make_upcalls(w, NULL, NULL, d);
}

static void forward_to_pyfuse3(worker *w, const request *q) {
    tfs_note_upcall(w->router, q, true);
    if (tfs_splice_has(w, q) && !tfs_splice_fetch(w))
        tfs_reply_error(q, EIO);
    else
        tfs_forward_request(w->router->forward, q);
}

static void to_python(worker *w, request *q, const operation *op) {
    router *r = w->router;
    count(&w->counters->to_python, 1);
    if (op && op->changes)
        tfs_note_change(r, q);
    if (op && op->writes) {
        tfs_in_flight_add(&r->in_flight, q->header->unique, tfs_changed_inode(q));
        tfs_synchronize_workers(w);
    }
    if (!op || !tfs_upcall_has(r->upcalls, q->header->opcode)) {
        forward_to_pyfuse3(w, q);
        return;
    }
    if (op->pool != POOL_SYNC && !w->by_ring) {
        upcall_or_queue(w, q, op);
        return;
    }
    waiting_request *d = keep_waiting(w, q, op);
    if (!d)
        reply_no_memory(r, q);
    else if (op->pool == POOL_SYNC)
        queue_to(r->upcall_queue->sync, d, run_for_disk);
    else
        queue_to(r->upcall_queue->index, d, run_for_index);
}

/* ---------------------------------------------------------------- verdicts */

/* The read that answer_read() tried, in a thread that may wait. */
static void run_read(job *j, void *thread) {
    waiting_request *d = (waiting_request *)j;
    worker *w = thread;
    router *r = w->router;
    request *q = &d->request;
    struct fuse_read_in in;
    placement file;
    size_t length;
    uint64_t ino = q->header->nodeid;
    memcpy(&in, q->body, sizeof in); /* its length was checked before */
    tfs_disk_begin_read(r->disk, ino, &in);
    read_result result = tfs_read_file(r, w->counters, ino, &in, true, w->reply, &length, &file);
    tfs_disk_end_read(r->disk, ino);
    if (result == READ_DONE) {
        tfs_count_reply(w, q, REQUEST_READ, 0);
        tfs_reply(q, w->reply, length);
        tfs_heat_add(&r->heat, ino, length);
        tfs_disk_drop_read(r->disk, ino, &file, in.offset, length);
    } else {
        count(&w->counters->to_python, 1);
        if (tfs_upcall_has(r->upcalls, FUSE_READ))
            upcall(w, q, d->operation, true); /* damage, or a race: not again and again */
        else
            forward_to_pyfuse3(w, q);
    }
    waiting_free(d);
}

static void wait_for_disk(worker *w, const request *q, const operation *op) {
    waiting_request *d = keep_waiting(w, q, op);
    if (d) {
        d->job.run = run_read;
        if (tfs_disk_add(w->router->disk, &d->job, q->header->nodeid))
            return;
        waiting_free(d);
    }
    tfs_reply_error(q, ENOMEM);
}

static int error_of(verdict v) {
    return v == REPLIED ? 0 : v == FAILED_ENODATA ? ENODATA : v == FAILED_ERANGE ? ERANGE : EINVAL;
}

static void act(worker *w, request *q, const operation *op, verdict v) {
    if (v == WAIT_DISK)
        wait_for_disk(w, q, op);
    else if (v == UPCALL)
        to_python(w, q, op);
    else if (op->counted < REQUEST_KINDS)
        tfs_count_reply(w, q, op->counted, error_of(v));
}

/* It would, answered from the cache; as an upcall it queues behind the write. */
static bool overtakes_write(worker *w, const request *q) {
    bool is_stat = q->header->opcode == FUSE_GETATTR || q->header->opcode == FUSE_STATX;
    return is_stat && tfs_in_flight_has(&w->router->in_flight, q->header->nodeid);
}

void tfs_dispatch(worker *w, channel *from, size_t size) {
    const struct fuse_in_header *header = (void *)w->request;
    if (size < sizeof *header)
        return; /* no message of FUSE, and nobody to reply to */
    request q = {from, header, w->request + sizeof *header, size - sizeof *header, now_ns(), NULL, {0}};
    if (header->len != size) {
        tfs_reply_error(&q, EIO);
        return;
    }
    if (header->unique & UNIQUE_RESEND)
        count(&w->counters->resent, 1);
    tfs_attribution_begin(&w->router->attribution, &q);
    const operation *op = tfs_operation_of(header->opcode);
    bool is_upcall = !op || !op->answer || overtakes_write(w, &q);
    act(w, &q, op, is_upcall ? UPCALL : op->answer(w, &q));
}

/* ---------------------------------------------------------------- the pools */

upcall_queue *tfs_upcall_queue_new(router *r) {
    upcall_queue *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->router = r;
    STAILQ_INIT(&u->queue);
    pthread_mutex_init(&u->lock, NULL);
    pool_settings index = tfs_worker_pool(r, "tierfs-call", INDEX_THREADS, false);
    pool_settings disk = tfs_worker_pool(r, "tierfs-call-dsk", DISK_THREADS, true);
    pool_settings sync = tfs_worker_pool(r, "tierfs-sync", SYNC_THREADS, true);
    u->index = tfs_pool_new(&index);
    u->disk = tfs_pool_new(&disk);
    u->sync = tfs_pool_new(&sync);
    if (u->index && u->disk && u->sync)
        return u;
    tfs_upcall_queue_free(u);
    return NULL;
}

void tfs_upcall_queue_free(upcall_queue *u) {
    if (!u)
        return;
    tfs_pool_stop(u->index); /* it queues to the next */
    tfs_pool_stop(u->disk);
    tfs_pool_stop(u->sync);
    for (waiting_request *d; (d = STAILQ_FIRST(&u->queue)); waiting_free(d))
        STAILQ_REMOVE_HEAD(&u->queue, next);
    tfs_pool_free(u->index);
    tfs_pool_free(u->disk);
    tfs_pool_free(u->sync);
    while (u->spares)
        free(u->spare[--u->spares]);
    pthread_mutex_destroy(&u->lock);
    free(u);
}
