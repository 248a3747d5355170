/* A slab allocator for the many small structures of the metadata cache, whichever thread adds or drops them.

   malloc(3) of glibc keeps what was freed for the arena of the thread that allocated it: entries are added by
   one thread after another, and a full cache would take its memory once for each. Here freed objects are shared
   by all threads, by size, and a slab without an object in use goes back to the system. */
#ifndef TIERFS_SLAB_H
#define TIERFS_SLAB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    SLAB_STEP = 16,      /* bytes between two sizes of objects */
    SLAB_LARGEST = 1024, /* larger objects are rare, and malloc's */
    SLAB_SIZES = SLAB_LARGEST / SLAB_STEP + 1,
};

typedef struct slab slab;

/* Not locked: the lock of the cache. */
typedef struct {
    LIST_HEAD(, slab) partial[SLAB_SIZES]; /* slabs with room, by size */
} slabs;

void tfs_slabs_init(slabs *all);
/* When no object is in use any more. */
void tfs_slabs_free(slabs *all);
/* All zero; NULL without memory. */
void *tfs_slab_alloc(slabs *all, size_t size);
/* `size` as it was allocated; NULL is fine. */
void tfs_slab_free(slabs *all, void *object, size_t size);

#endif
