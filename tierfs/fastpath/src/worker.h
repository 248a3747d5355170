/* Threads that deal with requests, wherever they come from. */
#ifndef TIERFS_WORKER_H
#define TIERFS_WORKER_H

#include "router.h"

/* One that reads requests; -1 without memory. */
int worker_init(worker *w, router *r);
void worker_free(worker *w);
/* For `pool_settings`: a thread that only replies. NULL without memory. */
void *worker_for_pool(router *r, bool may_wait);
void worker_of_pool_ends(void *thread);

#endif
