/* Calls of Python are made by one worker at a time: Python's lock lets no more than one run, and who waits
   for it is woken more slowly than the call takes. The worker that reads a request makes its call itself, if
   no other is in calls: so for a client that makes one request after the other no thread is woken. What others
   read meanwhile they put into a queue, which the one in calls then takes on: it is in order, so that
   a GETATTR is not answered between a change and its tfs_reply (changing.h).

   Such a call does not wait: where the index is being written to, it goes on in the pool of calls, and where a
   disk or another change of the same file is needed, in the pool for disks. */
#include "dispatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "forward.h"
#include "operations.h"
#include "piped.h"
#include "telling.h"
#include "turns.h"
#include "worker.h"
#include "upcall.h"

enum {
    CALL_THREADS = 4,
    DISK_THREADS = 64,
    SYNC_THREADS = 16,
    COPIED = 64 * 1024, /* a request up to this length is copied where it has to wait; else it keeps its buffer */
    SPARE = 8,          /* buffers */
    PAGE = 4096,
};

/* A request that waits. */
typedef struct kept kept;
struct kept {
    job job;
    STAILQ_ENTRY(kept) next;
    request request;
    const operation *operation;
    router *router;
    uint8_t *buffer; /* of its own; NULL: behind this structure, or with the channel */
    struct fuse_in_header header; /* of a FORGET that is none of the kernel's */
};

struct calls {
    router *router;
    pthread_mutex_t lock;
    bool busy;                   /* lock: a worker is in calls */
    STAILQ_HEAD(, kept) queue;   /* lock: what it is to take on */
    uint8_t *spare[SPARE];       /* lock */
    unsigned spares;             /* lock */
    pool *waiting, *disk, *sync;
};

static void act(worker *w, request *q, const operation *op, verdict v);
static void forget_orphans(worker *w);

/* ---------------------------------------------------------------- requests that wait */

static uint8_t *take_buffer(calls *c) {
    pthread_mutex_lock(&c->lock);
    uint8_t *taken = c->spares ? c->spare[--c->spares] : NULL;
    pthread_mutex_unlock(&c->lock);
    return taken ? taken : aligned_alloc(PAGE, c->router->buffer);
}

static void give_buffer(calls *c, uint8_t *buffer) {
    pthread_mutex_lock(&c->lock);
    bool kept = c->spares < SPARE;
    if (kept)
        c->spare[c->spares++] = buffer;
    pthread_mutex_unlock(&c->lock);
    if (!kept)
        free(buffer);
}

static void kept_free(kept *k) {
    tfs_upcall_drop(&k->request);
    if (k->buffer)
        give_buffer(k->router->calls, k->buffer);
    free(k);
}

static void kept_drop(job *j) {
    kept_free((kept *)j);
}

static kept *kept_new(router *r, const request *q, const operation *op, size_t copied) {
    kept *k = malloc(sizeof *k + copied);
    if (k)
        *k = (kept){.job.drop = kept_drop, .request = *q, .operation = op, .router = r};
    return k;
}

/* A copy for later; the worker's buffer may be used again then. NULL without memory. */
static kept *keep(worker *w, const request *q, const operation *op) {
    if (tfs_piped_has(w, q) && !tfs_piped_fetch(w))
        return NULL;
    size_t size = sizeof *q->header + q->length;
    bool swaps = (const uint8_t *)q->header == w->request && !w->by_ring && size > COPIED;
    uint8_t *other = swaps ? take_buffer(w->router->calls) : NULL;
    if (swaps && !other)
        return NULL;
    kept *k = kept_new(w->router, q, op, w->by_ring || swaps ? 0 : size);
    if (!k) {
        free(other);
        return NULL;
    }
    if (swaps) {
        k->buffer = w->request;
        w->request = other;
    } else if (!w->by_ring) {
        uint8_t *copy = memcpy(k + 1, q->header, size);
        k->request.header = (void *)copy;
        k->request.body = copy + sizeof *q->header;
    }
    return k;
}

static void refuse_for_memory(router *r, const request *q) {
    uint64_t unique = q->header->unique;
    tfs_reply_error(q, ENOMEM);
    tfs_changing_remove(&r->changing, unique);
}

static void pass_to(pool *p, kept *k, void (*run)(job *, void *)) {
    k->job.run = run;
    if (tfs_pool_add(p, &k->job))
        return;
    refuse_for_memory(k->router, &k->request);
    kept_free(k);
}

/* ---------------------------------------------------------------- calls */

/* `again`: what can be published does not help. CALL_DONE where it was replied to. */
static call_result call(worker *w, request *q, const operation *op, bool again) {
    uint64_t unique = q->header->unique; /* once it is replied to, a ring may have the next there */
    for (;; again = true) {
        call_result result = tfs_upcall_make(w->router->upcalls, w, q, op, again);
        if (result == CALL_BUSY || result == CALL_WAITS)
            return result;
        verdict v = result == CALL_PUBLISHED ? op->answer(w, q) : DONE;
        if (result == CALL_PUBLISHED && v != ASK)
            act(w, q, op, v);
        if (v != ASK)
            break;
    }
    tfs_changing_remove(&w->router->changing, unique);
    return CALL_DONE;
}

static void run_for_disk(job *j, void *thread) {
    kept *k = (kept *)j;
    call(thread, &k->request, k->operation, false);
    kept_free(k);
    forget_orphans(thread);
}

static void run_waiting(job *j, void *thread);

/* On to where it may wait. */
static void pass_further(calls *c, kept *k, call_result why) {
    if (why == CALL_BUSY)
        pass_to(c->waiting, k, run_waiting);
    else
        pass_to(k->operation->pool == POOL_TRIED ? c->sync : c->disk, k, run_for_disk);
}

static void run_waiting(job *j, void *thread) {
    kept *k = (kept *)j;
    if (call(thread, &k->request, k->operation, false) == CALL_DONE)
        kept_free(k);
    else
        pass_further(k->router->calls, k, CALL_WAITS);
    forget_orphans(thread);
}

static void call_kept(worker *w, kept *k) {
    call_result result = call(w, &k->request, k->operation, false);
    if (result == CALL_DONE)
        kept_free(k);
    else
        pass_further(w->router->calls, k, result);
}

/* The worker is in calls now, if no other is; else that one takes on `k`, if there is one. */
static bool enter(calls *c, kept *k) {
    pthread_mutex_lock(&c->lock);
    bool entered = !c->busy;
    c->busy = true;
    if (k && !entered)
        STAILQ_INSERT_TAIL(&c->queue, k, next);
    pthread_mutex_unlock(&c->lock);
    return entered;
}

/* The next of the queue; NULL: there is none, and nobody is in calls. */
static kept *next_or_leave(calls *c) {
    pthread_mutex_lock(&c->lock);
    kept *k = STAILQ_FIRST(&c->queue);
    if (k)
        STAILQ_REMOVE_HEAD(&c->queue, next);
    else
        c->busy = false;
    pthread_mutex_unlock(&c->lock);
    return k;
}

/* With one request, which is still in the worker's buffer or is kept, and then all that is queued. */
static void be_in_calls(worker *w, request *q, const operation *op, kept *k) {
    calls *c = w->router->calls;
    tfs_turn_end(w);
    tfs_calls_begin(w);
    if (!k) {
        call_result result = call(w, q, op, false);
        if (result != CALL_DONE) {
            k = keep(w, q, op);
            if (k)
                pass_further(c, k, result);
            else
                refuse_for_memory(w->router, q);
        }
        tfs_piped_drop(w);
        k = next_or_leave(c);
    }
    for (; k; k = next_or_leave(c)) {
        tfs_calls_next(w);
        call_kept(w, k);
    }
    tfs_calls_end(w);
}

static void call_or_queue(worker *w, request *q, const operation *op) {
    calls *c = w->router->calls;
    if (enter(c, NULL)) {
        be_in_calls(w, q, op, NULL);
        return;
    }
    kept *k = keep(w, q, op);
    if (!k)
        refuse_for_memory(w->router, q);
    else if (enter(c, k))
        be_in_calls(w, NULL, NULL, k);
}

static void note(worker *w, const request *q, const operation *op) {
    router *r = w->router;
    count(&w->counters->passed_on, 1);
    if (op && op->changes)
        tfs_note_change(r, q);
    if (op && op->resizes) {
        tfs_changing_add(&r->changing, q->header->unique, tfs_changed_inode(q));
        tfs_await_others(w);
    }
}

static void ask(worker *w, request *q, const operation *op) {
    router *r = w->router;
    note(w, q, op);
    if (!op || !tfs_upcall_has(r->upcalls, q->header->opcode)) {
        tfs_note_unseen(r, q);
        if (tfs_piped_has(w, q) && !tfs_piped_fetch(w))
            tfs_reply_error(q, EIO);
        else
            tfs_forward_request(r->forward, q);
        return;
    }
    if (op->pool != POOL_SYNC && !w->by_ring) {
        call_or_queue(w, q, op);
        return;
    }
    kept *k = keep(w, q, op);
    if (!k)
        refuse_for_memory(r, q);
    else if (op->pool == POOL_SYNC)
        pass_to(r->calls->sync, k, run_for_disk);
    else
        pass_to(r->calls->waiting, k, run_waiting);
}

/* Inodes without a name of which the kernel has lost the last reference. */
static void forget_orphans(worker *w) {
    static const struct fuse_forget_in once = {.nlookup = 1};
    router *r = w->router;
    for (uint64_t ino; (ino = tfs_table_next_forgotten(r->table));) {
        struct fuse_in_header header = {.len = sizeof header + sizeof once, .opcode = FUSE_FORGET, .nodeid = ino};
        request q = {.header = &header, .body = (const uint8_t *)&once, .length = sizeof once};
        if (!tfs_upcall_has(r->upcalls, FUSE_FORGET)) {
            tfs_forward_request(r->forward, &q);
            continue;
        }
        kept *k = kept_new(r, &q, tfs_operation_of(FUSE_FORGET), 0);
        if (!k)
            continue; /* the next mount frees it */
        k->header = header;
        k->request.header = &k->header;
        if (w->may_wait || w->by_ring || !w->request)
            pass_to(r->calls->waiting, k, run_waiting);
        else if (enter(r->calls, k))
            be_in_calls(w, NULL, NULL, k);
    }
}

/* ---------------------------------------------------------------- verdicts */

static void run_read(job *j, void *thread) {
    kept *k = (kept *)j;
    worker *w = thread;
    if (tfs_disk_serve(w->router->disk, w, &k->request) == ASK) /* damage, or a race: not again and again */
        call(w, &k->request, k->operation, true);
    kept_free(k);
}

static void act(worker *w, request *q, const operation *op, verdict v) {
    router *r = w->router;
    if (v == WAIT_DISK) {
        kept *k = keep(w, q, op);
        if (k) {
            k->job.run = run_read;
            if (!tfs_disk_add(r->disk, &k->job, q->header->nodeid)) {
                kept_free(k);
                k = NULL;
            }
        }
        if (!k)
            tfs_reply_error(q, ENOMEM);
    } else if (v == ASK) {
        ask(w, q, op);
    } else if (op->counted < ANSWERS) {
        tfs_count_answer(w->counters, op->counted, v == DONE, q->started_ns);
    }
}

/* What it tells must not be ahead of a change's reply: then it queues behind that. */
static bool is_changing(worker *w, const request *q) {
    bool tells = q->header->opcode == FUSE_GETATTR || q->header->opcode == NEWER_STATX;
    return tells && tfs_changing_has(&w->router->changing, q->header->nodeid);
}

void tfs_dispatch(worker *w, channel *from, size_t size) {
    const struct fuse_in_header *header = (void *)w->request;
    if (size < sizeof *header)
        return; /* no message of FUSE, and nobody to answer */
    request q = {from, header, w->request + sizeof *header, size - sizeof *header, now_ns(), NULL};
    if (header->len != size) {
        tfs_reply_error(&q, EIO);
        return;
    }
    const operation *op = tfs_operation_of(header->opcode);
    bool asks = !op || !op->answer || is_changing(w, &q);
    act(w, &q, op, asks ? ASK : op->answer(w, &q));
    forget_orphans(w);
}

/* ---------------------------------------------------------------- life */

calls *tfs_calls_new(router *r) {
    calls *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->router = r;
    STAILQ_INIT(&c->queue);
    pthread_mutex_init(&c->lock, NULL);
    pool_settings waiting = tfs_worker_pool(r, "tierfs-call", CALL_THREADS, false);
    pool_settings disk = tfs_worker_pool(r, "tierfs-call-dsk", DISK_THREADS, true);
    pool_settings sync = tfs_worker_pool(r, "tierfs-sync", SYNC_THREADS, true);
    c->waiting = tfs_pool_new(&waiting);
    c->disk = tfs_pool_new(&disk);
    c->sync = tfs_pool_new(&sync);
    if (c->waiting && c->disk && c->sync)
        return c;
    tfs_calls_free(c);
    return NULL;
}

void tfs_calls_free(calls *c) {
    if (!c)
        return;
    tfs_pool_stop(c->waiting); /* passes on to the next */
    tfs_pool_stop(c->disk);
    tfs_pool_stop(c->sync);
    for (kept *k; (k = STAILQ_FIRST(&c->queue)); kept_free(k))
        STAILQ_REMOVE_HEAD(&c->queue, next);
    tfs_pool_free(c->waiting);
    tfs_pool_free(c->disk);
    tfs_pool_free(c->sync);
    while (c->spares)
        free(c->spare[--c->spares]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
