#include "heat.h"

#include <stdlib.h>

#include "hash_table.h"

int tfs_heat_init(heat *h) {
    h->rows = calloc(HEAT_ROWS, sizeof *h->rows);
    return h->rows && !pthread_mutex_init(&h->lock, NULL) ? 0 : -1;
}

void tfs_heat_free(heat *h) {
    free(h->rows);
    h->rows = NULL;
}

/* Three quarters full at most, so that a probe ends. */
static heat_row *row_of(heat *h, uint64_t ino) {
    size_t at = hash_number(ino) % HEAT_ROWS;
    while (h->rows[at].ino && h->rows[at].ino != ino)
        at = (at + 1) % HEAT_ROWS;
    return h->rows[at].ino || h->used < HEAT_ROWS / 4 * 3 ? &h->rows[at] : NULL;
}

void tfs_heat_add(heat *h, uint64_t ino, uint64_t bytes) {
    pthread_mutex_lock(&h->lock);
    heat_row *row = row_of(h, ino);
    if (row) {
        h->used += row->ino == 0;
        row->ino = ino;
        row->reads++;
        row->bytes += bytes;
    } else {
        h->lost++;
    }
    pthread_mutex_unlock(&h->lock);
}

/* Rows are taken whole runs at a time: a hole in the middle of a run would hide what follows it,
   so a run that has begun to be emptied is emptied, or its rest is moved up to its place. */
static void put_back(heat *h, size_t from) {
    for (size_t at = from; h->rows[at].ino; at = (at + 1) % HEAT_ROWS) {
        heat_row moved = h->rows[at];
        h->rows[at] = (heat_row){0};
        *row_of(h, moved.ino) = moved;
    }
}

size_t tfs_heat_take(heat *h, heat_row *out, size_t limit) {
    size_t taken = 0;
    pthread_mutex_lock(&h->lock);
    for (size_t looked = 0; looked < HEAT_ROWS && taken < limit && h->used; looked++) {
        heat_row *row = &h->rows[h->next];
        h->next = (h->next + 1) % HEAT_ROWS;
        if (row->ino) {
            out[taken++] = *row;
            *row = (heat_row){0};
            h->used--;
        }
    }
    if (taken) /* else there is no hole, and maybe no room to move a row */
        put_back(h, h->next);
    pthread_mutex_unlock(&h->lock);
    return taken;
}

uint64_t tfs_heat_lost(heat *h) {
    pthread_mutex_lock(&h->lock);
    uint64_t lost = h->lost;
    pthread_mutex_unlock(&h->lock);
    return lost;
}
