/* First reads: how far into files READs go from their beginning, one after the other, until Python takes them. What the
   kernel reads ahead is in them, so they are an upper bound of what programs read. */
#ifndef TIERFS_FIRST_READS_H
#define TIERFS_FIRST_READS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FIRST_RUNS = 4096,     /* files that are being read; a collision ends the earlier one's */
    FIRST_ENDED = 1024,    /* that wait to be taken; of more some are left out */
};

#define FIRST_RUN_IDLE_NS 2000000000ULL /* without a READ, after which a run has ended */

/* READs from the beginning of a file. One thread may be ahead of another: what it read lies apart until the gap
   is read as well. */
typedef struct {
    uint64_t ino, reach, apart_from, apart_to, last_ns; /* ino 0: none */
} first_run;

typedef struct {
    uint64_t ino, reach;
} first_read;

typedef struct {
    pthread_mutex_t lock;
    first_run *runs;    /* lock */
    first_read *ended;  /* lock */
    size_t ended_count; /* lock */
} first_reads;

int tfs_first_reads_init(first_reads *f);
void tfs_first_reads_free(first_reads *f);
/* A READ, as the kernel asks for it: the length may go beyond the end of the file. */
void tfs_first_reads_add(first_reads *f, uint64_t ino, uint64_t offset, uint64_t length, uint64_t now);
/* Moves up to `limit` of those that have ended out; how many. */
size_t tfs_first_reads_take(first_reads *f, first_read *out, size_t limit, uint64_t now);

#endif
