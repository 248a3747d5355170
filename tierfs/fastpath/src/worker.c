#include "worker.h"

#include <stdlib.h>

#include "upcall.h"

enum { PAGE = 4096 };

int worker_init(worker *w, router *r) {
    *w = (worker){.router = r};
    w->counters = &w->own;
    w->request = aligned_alloc(PAGE, r->buffer);
    w->reply = aligned_alloc(PAGE, r->buffer);
    return w->request && w->reply ? 0 : -1;
}

void worker_free(worker *w) {
    free(w->request);
    free(w->reply);
    w->request = w->reply = NULL;
}

void *worker_for_pool(router *r, bool may_wait) {
    worker *w = calloc(1, sizeof *w);
    uint8_t *buffer = w ? aligned_alloc(PAGE, r->buffer) : NULL;
    if (!buffer) {
        free(w);
        return NULL;
    }
    w->router = r;
    w->reply = buffer;
    w->counters = &r->pool_counters;
    w->may_wait = may_wait;
    return w;
}

void worker_of_pool_ends(void *thread) {
    worker *w = thread;
    upcall_detach();
    worker_free(w);
    free(w);
}
