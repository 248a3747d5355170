#include "first_reads.h"

#include <stdbool.h>
#include <stdlib.h>

#include "hash_table.h"

enum { FARTHEST_FIRST = 1024 * 1024 }; /* where a READ may begin that came before the one of the beginning */

int tfs_first_reads_init(first_reads *f) {
    f->runs = calloc(FIRST_RUNS, sizeof *f->runs);
    f->ended = calloc(FIRST_ENDED, sizeof *f->ended);
    return f->runs && f->ended && !pthread_mutex_init(&f->lock, NULL) ? 0 : -1;
}

void tfs_first_reads_free(first_reads *f) {
    free(f->runs);
    free(f->ended);
    f->runs = NULL;
    f->ended = NULL;
}

static void end_run(first_reads *f, first_run *run) {
    if (run->ino && run->reach && f->ended_count < FIRST_ENDED)
        f->ended[f->ended_count++] = (first_read){run->ino, run->reach};
    *run = (first_run){0};
}

static void extend(first_run *run, uint64_t from, uint64_t to) {
    if (from <= run->reach) {
        run->reach = to > run->reach ? to : run->reach;
    } else if (run->apart_from == run->apart_to) {
        run->apart_from = from;
        run->apart_to = to;
    } else if (from <= run->apart_to && to >= run->apart_from) {
        run->apart_from = from < run->apart_from ? from : run->apart_from;
        run->apart_to = to > run->apart_to ? to : run->apart_to;
    }
    if (run->apart_from != run->apart_to && run->apart_from <= run->reach) {
        run->reach = run->apart_to > run->reach ? run->apart_to : run->reach;
        run->apart_from = run->apart_to = 0;
    }
}

void tfs_first_reads_add(first_reads *f, uint64_t ino, uint64_t offset, uint64_t length, uint64_t now) {
    uint64_t end = offset + length;
    if (end < offset)
        return;
    pthread_mutex_lock(&f->lock);
    first_run *run = &f->runs[hash_number(ino) % FIRST_RUNS];
    bool again = run->ino == ino && offset == 0 && now > run->last_ns + FIRST_RUN_IDLE_NS;
    if ((run->ino != ino && offset <= FARTHEST_FIRST) || again) {
        end_run(f, run);
        run->ino = ino;
    }
    if (run->ino == ino) {
        extend(run, offset, end);
        run->last_ns = now;
    }
    pthread_mutex_unlock(&f->lock);
}

size_t tfs_first_reads_take(first_reads *f, first_read *out, size_t limit, uint64_t now) {
    size_t taken = 0;
    pthread_mutex_lock(&f->lock);
    for (size_t at = 0; at < FIRST_RUNS; at++)
        if (f->runs[at].ino && now > f->runs[at].last_ns + FIRST_RUN_IDLE_NS)
            end_run(f, &f->runs[at]);
    while (taken < limit && f->ended_count)
        out[taken++] = f->ended[--f->ended_count];
    pthread_mutex_unlock(&f->lock);
    return taken;
}
