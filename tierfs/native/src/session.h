/* A router, and its one session: made, started, stopped, freed. */
#ifndef TIERFS_SESSION_H
#define TIERFS_SESSION_H

#include "router.h"

void tfs_close_fd(int *fd);
/* -1 and errno: something is missing; tfs_session_free() all the same. */
int tfs_session_init(router *r, size_t memory, int heads, int objects);
/* A connection that an earlier daemon has served; `length` 0: there was none, the device is new. */
typedef struct {
    const uint8_t *init; /* its INIT, as tfs_forward_init() gave it */
    size_t length;
} taken_over;
/* pyfuse3's descriptor, or -1 and errno: then tfs_session_stop(), which closes `device` as well. */
int tfs_session_start(router *r, int device, unsigned workers, unsigned disk_threads, uint32_t max_write,
                      taken_over earlier);
/* Waits for every thread; may be called again. */
void tfs_session_stop(router *r);
void tfs_session_free(router *r);
/* Adds what all threads have counted to `sum`. */
void tfs_session_count(router *r, counters *sum);

#endif
