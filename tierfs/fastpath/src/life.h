/* What a router is made of: made, started, stopped, freed. */
#ifndef TIERFS_LIFE_H
#define TIERFS_LIFE_H

#include "router.h"

void close_fd(int *fd);
/* -1 and errno: something is missing; life_free() all the same. */
int life_set_up(router *r, size_t memory, int heads, int objects);
/* pyfuse3's descriptor, or -1 and errno: then life_stop(), which closes `device` as well. */
int life_start(router *r, int device, unsigned workers, unsigned disk_threads, uint32_t max_write);
/* Waits for every thread; may be called again. */
void life_stop(router *r);
void life_free(router *r);

#endif
