#include "turns.h"

#include <sched.h>

void tfs_turn_begin(worker *w) {
    atomic_fetch_add(&w->turn, 1);
}

void tfs_turn_end(worker *w) {
    if (atomic_load(&w->turn) % 2)
        atomic_fetch_add(&w->turn, 1);
}

void tfs_await_others(worker *w) {
    tfs_turn_end(w); /* two may wait for one another */
    for (unsigned i = 0; i < w->router->worker_count; i++) {
        worker *other = &w->router->workers[i];
        unsigned turn = atomic_load(&other->turn);
        while (turn % 2 && atomic_load(&other->turn) == turn && !is_stopping(w->router))
            sched_yield();
    }
}

/* The one that stands by is woken at the first of many calls, and then looks by itself for a while. */
void tfs_calls_begin(worker *w) {
    router *r = w->router;
    atomic_fetch_add(&w->calls, 1);
    if (w != &r->workers[0] || atomic_load_explicit(&r->watched, memory_order_relaxed))
        return;
    pthread_mutex_lock(&r->parking);
    atomic_store(&r->watched, true);
    pthread_cond_signal(&r->watch);
    pthread_mutex_unlock(&r->parking);
}

void tfs_calls_next(worker *w) {
    atomic_fetch_add(&w->calls, 2);
}

void tfs_calls_end(worker *w) {
    atomic_fetch_add(&w->calls, 1);
}

bool tfs_is_in_calls(const worker *w) {
    return atomic_load_explicit(&w->calls, memory_order_relaxed) % 2;
}
