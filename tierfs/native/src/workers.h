/* The threads at the device: one leads, others help, and the last one stands by. */
#ifndef TIERFS_WORKERS_H
#define TIERFS_WORKERS_H

#include "router.h"

/* -1 and errno; tfs_workers_stop() all the same. */
int tfs_workers_start(router *r, unsigned count);
/* Waits for them, and for those of the rings. */
void tfs_workers_stop(router *r);

#endif
