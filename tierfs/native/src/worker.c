#include "worker.h"

#include <stdlib.h>

#include "piped.h"
#include "upcall.h"

enum {
    PAGE = 4096,
    LOSSES = 4, /* spins in a row without a request, after which spinning pauses */
    PAUSE = 64, /* waits for which it pauses */
};

int tfs_worker_init(worker *w, router *r) {
    *w = (worker){.router = r, .piped.ends = {-1, -1}};
    w->counters = &w->own;
    w->request = aligned_alloc(PAGE, r->buffer);
    w->reply = aligned_alloc(PAGE, r->buffer);
    return w->request && w->reply ? 0 : -1;
}

void tfs_worker_free(worker *w) {
    tfs_piped_close(w);
    free(w->request);
    free(w->reply);
    w->request = w->reply = NULL;
}

static void *pool_worker(router *r, bool may_wait) {
    worker *w = calloc(1, sizeof *w);
    uint8_t *buffer = w ? aligned_alloc(PAGE, r->buffer) : NULL;
    if (!buffer) {
        free(w);
        return NULL;
    }
    w->router = r;
    w->piped.ends[0] = w->piped.ends[1] = -1;
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
