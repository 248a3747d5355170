/* What a router is made of: made, started, stopped, freed. */
#ifndef TIERFS_LIFE_H
#define TIERFS_LIFE_H

#include "router.h"

void tfs_close_fd(int *fd);
/* -1 and errno: something is missing; tfs_life_free() all the same. */
int tfs_life_set_up(router *r, size_t memory, int heads, int objects);
/* pyfuse3's descriptor, or -1 and errno: then tfs_life_stop(), which closes `device` as well. */
int tfs_life_start(router *r, int device, unsigned workers, unsigned disk_threads, uint32_t max_write);
/* Waits for every thread; may be called again. */
void tfs_life_stop(router *r);
void tfs_life_free(router *r);

#endif
