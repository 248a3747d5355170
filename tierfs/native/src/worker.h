/* A thread that handles requests, wherever they come from: what it needs, and what others see of it. */
#ifndef TIERFS_WORKER_H
#define TIERFS_WORKER_H

#include "router.h"

/* One that reads requests; -1 without memory. */
int tfs_worker_init(worker *w, router *r);
void tfs_worker_free(worker *w);
/* Of a pool whose jobs get a worker that only replies; `may_wait`: for a disk. */
pool_settings tfs_worker_pool(router *r, const char *name, unsigned most, bool may_wait);

/* A request is being read and handled, */
void tfs_busy_begin(worker *w);
/* until it has a reply, or its upcall has its place in the order of upcalls. */
void tfs_busy_end(worker *w);
/* Ends that for this worker, and waits until every request that was read before its own has come so far. */
void tfs_synchronize_workers(worker *w);

/* A request has its reply, or is about to get it; `error` as of errno(3). */
static inline void tfs_count_reply(worker *w, const request *q, request_kind kind, int error) {
    uint64_t took = tfs_count_request(w->counters, kind, error, q->started_ns);
    if (q->watched.on)
        tfs_attribute(&w->router->attribution, w->router->cache, q, kind, took);
}

/* The worker makes upcalls, */
void tfs_upcall_begin(worker *w);
/* another one, */
void tfs_upcall_next(worker *w);
/* none. */
void tfs_upcall_end(worker *w);
bool tfs_is_in_upcall(const worker *w);

/* Whether to spin this time; and what came of it, true: a request. */
bool tfs_may_spin(worker *w, uint64_t spin_ns);
void tfs_has_spun(worker *w, bool won);

#endif
