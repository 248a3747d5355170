#include "worker.h"

#include <sched.h>
#include <stdlib.h>

#include "splice.h"
#include "upcall.h"

enum {
    LOSSES = 4, /* spins in a row without a request, after which spinning pauses */
    PAUSE = 64, /* waits for which it pauses */
};

/* ---------------------------------------------------------------- memory */

int tfs_worker_init(worker *w, router *r) {
    *w = (worker){.router = r, .pipe.ends = {-1, -1}};
    w->counters = &w->own;
    w->request = aligned_alloc(BUFFER_ALIGNMENT, r->buffer);
    w->reply = aligned_alloc(BUFFER_ALIGNMENT, r->buffer);
    return w->request && w->reply ? 0 : -1;
}

void tfs_worker_free(worker *w) {
    tfs_splice_close(w);
    free(w->request);
    free(w->reply);
    w->request = w->reply = NULL;
}

static void *pool_worker(router *r, bool may_wait) {
    worker *w = calloc(1, sizeof *w);
    uint8_t *buffer = w ? aligned_alloc(BUFFER_ALIGNMENT, r->buffer) : NULL;
    if (!buffer) {
        free(w);
        return NULL;
    }
    w->router = r;
    w->pipe.ends[0] = w->pipe.ends[1] = -1;
    w->reply = buffer;
    w->counters = &r->pool_counters;
    w->may_wait = may_wait;
    return w;
}

static void *begin(void *context) {
    return pool_worker(context, false);
}

static void *begin_for_disk(void *context) {
    return pool_worker(context, true);
}

static void end(void *thread) {
    worker *w = thread;
    tfs_upcall_detach();
    tfs_worker_free(w);
    free(w);
}

pool_settings tfs_worker_pool(router *r, const char *name, unsigned most, bool may_wait) {
    return (pool_settings){name, most, may_wait ? begin_for_disk : begin, end, r};
}

/* ---------------------------------------------------------------- what others see */

void tfs_busy_begin(worker *w) {
    atomic_fetch_add(&w->busy_seq, 1);
}

void tfs_busy_end(worker *w) {
    if (atomic_load(&w->busy_seq) % 2)
        atomic_fetch_add(&w->busy_seq, 1);
}

void tfs_synchronize_workers(worker *w) {
    tfs_busy_end(w); /* two may wait for one another */
    for (unsigned i = 0; i < w->router->worker_count; i++) {
        worker *other = &w->router->workers[i];
        unsigned seq = atomic_load(&other->busy_seq);
        while (seq % 2 && atomic_load(&other->busy_seq) == seq && !is_stopping(w->router))
            sched_yield();
    }
}

/* The one that stands by is woken at the first of many upcalls, and then looks by itself for a while. */
void tfs_upcall_begin(worker *w) {
    router *r = w->router;
    atomic_fetch_add(&w->upcall_seq, 1);
    if (w != &r->workers[0] || atomic_load_explicit(&r->watched, memory_order_relaxed))
        return;
    pthread_mutex_lock(&r->parking);
    atomic_store(&r->watched, true);
    pthread_cond_signal(&r->watch);
    pthread_mutex_unlock(&r->parking);
}

void tfs_upcall_next(worker *w) {
    atomic_fetch_add(&w->upcall_seq, 2);
}

void tfs_upcall_end(worker *w) {
    atomic_fetch_add(&w->upcall_seq, 1);
}

bool tfs_is_in_upcall(const worker *w) {
    return atomic_load_explicit(&w->upcall_seq, memory_order_relaxed) % 2;
}

/* ---------------------------------------------------------------- spinning */

bool tfs_may_spin(worker *w, uint64_t spin_ns) {
    return spin_ns && !(w->pause && w->pause--);
}

void tfs_has_spun(worker *w, bool won) {
    w->losses = won ? 0 : w->losses + 1;
    if (w->losses >= LOSSES) {
        w->losses = 0;
        w->pause = PAUSE;
    }
}
