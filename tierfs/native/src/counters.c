#include "counters.h"

#include <errno.h>
#include <stdlib.h>

#include "hash_table.h"

const char *const tfs_request_names[REQUEST_KINDS] = {
    "lookup",  "forget",   "getattr", "getxattr", "listxattr",   "open",  "read",  "readdir",
    "statfs",  "mknod",    "mkdir",   "symlink",  "link",        "unlink", "rmdir", "rename",
    "readlink", "setattr", "setxattr", "removexattr", "write", "fsync", "fsyncdir",
    "statx", "fallocate", "lseek", "copy_file_range", "tmpfile", "release",
};

/* As tierfs/common/metrics.py has them: LATENCY_BUCKETS, in seconds. */
const double tfs_bucket_bounds[BUCKETS] = {
    25e-6, 50e-6, 1e-4, 25e-5, 5e-4, 1e-3, 25e-4, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0,
};

static size_t bucket_of(uint64_t nanoseconds) {
    double seconds = (double)nanoseconds * 1e-9;
    size_t bucket = 0;
    while (bucket < BUCKETS && seconds > tfs_bucket_bounds[bucket])
        bucket++;
    return bucket;
}

static _Atomic uint64_t *result_of(counters *c, request_kind kind, int error) {
    switch (error) {
    case 0:
        return &c->answered[kind].ok;
    case ENODATA:
        return &c->answered[kind].enodata;
    case ERANGE:
        return &c->answered[kind].erange;
    default:
        return &c->answered[kind].einval;
    }
}

void tfs_count_request(counters *c, request_kind kind, int error, uint64_t started_ns) {
    uint64_t took = now_ns() - started_ns;
    count(result_of(c, kind, error), 1);
    count(&c->answered[kind].nanoseconds, took);
    count(&c->answered[kind].buckets[bucket_of(took)], 1);
}

static void add(_Atomic uint64_t *sum, _Atomic uint64_t *more) {
    count(sum, atomic_load_explicit(more, memory_order_relaxed));
}

void tfs_counters_add(counters *sum, counters *more) {
    for (size_t kind = 0; kind < REQUEST_KINDS; kind++) {
        add(&sum->answered[kind].ok, &more->answered[kind].ok);
        add(&sum->answered[kind].enodata, &more->answered[kind].enodata);
        add(&sum->answered[kind].erange, &more->answered[kind].erange);
        add(&sum->answered[kind].einval, &more->answered[kind].einval);
        add(&sum->answered[kind].nanoseconds, &more->answered[kind].nanoseconds);
        for (size_t i = 0; i <= BUCKETS; i++)
            add(&sum->answered[kind].buckets[i], &more->answered[kind].buckets[i]);
    }
    add(&sum->to_python, &more->to_python);
    add(&sum->flash_bytes, &more->flash_bytes);
    add(&sum->disk_bytes, &more->disk_bytes);
}

/* ---------------------------------------------------------------- heat */

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
