/* Threads that deal with requests, wherever they come from. */
#ifndef TIERFS_WORKER_H
#define TIERFS_WORKER_H

#include "router.h"

/* One that reads requests; -1 without memory. */
int tfs_worker_init(worker *w, router *r);
void tfs_worker_free(worker *w);
/* Of a pool whose jobs get a worker that only replies; `may_wait`: for a disk. */
pool_settings tfs_worker_pool(router *r, const char *name, unsigned most, bool may_wait);
/* Whether to spin this time; and what came of it, true: a request. */
bool tfs_may_spin(worker *w, uint64_t spin_ns);
void tfs_has_spun(worker *w, bool won);

#endif
