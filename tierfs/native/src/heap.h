/* Memory for the many small things of the table, whichever thread publishes or drops them.

   malloc(3) of glibc keeps what was freed for the arena of the thread that took it: names are published by one
   thread after another, and a full table would take its memory once for each. Here what is free is
   one for all, by size, and a chunk of which nothing is in use goes back to the system. */
#ifndef TIERFS_HEAP_H
#define TIERFS_HEAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    HEAP_STEP = 16,      /* bytes between two sizes */
    HEAP_LARGEST = 1024, /* what is larger is rare, and malloc's */
    HEAP_SIZES = HEAP_LARGEST / HEAP_STEP + 1,
};

typedef struct heap_chunk heap_chunk;

/* Not locked: the table's lock. */
typedef struct {
    LIST_HEAD(, heap_chunk) chunks[HEAP_SIZES]; /* with room, by size */
} heap;

void tfs_heap_init(heap *h);
/* When nothing is in use any more. */
void tfs_heap_free(heap *h);
/* All zero; NULL without memory. */
void *tfs_heap_take(heap *h, size_t size);
/* `size` as it was taken; NULL is fine. */
void tfs_heap_give(heap *h, void *gone, size_t size);

#endif
