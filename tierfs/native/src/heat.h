/* Heat: reads and bytes by inode, until Python takes them. */
#ifndef TIERFS_HEAT_H
#define TIERFS_HEAT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAT_ROWS = 1 << 16 };

typedef struct {
    uint64_t ino, reads, bytes;
} heat_row;

typedef struct {
    pthread_mutex_t lock;
    heat_row *rows;    /* lock */
    size_t used, next; /* lock */
    uint64_t lost;     /* lock */
} heat;

int tfs_heat_init(heat *h);
void tfs_heat_free(heat *h);
void tfs_heat_add(heat *h, uint64_t ino, uint64_t bytes);
/* Moves up to `limit` rows out; how many. */
size_t tfs_heat_take(heat *h, heat_row *out, size_t limit);
uint64_t tfs_heat_lost(heat *h);

#endif
