/* Lookup counts: how many times the kernel was given each inode in a reply, less what its FORGETs gave back
   (nlookup in fs/fuse/inode.c). Not locked: the lock of the cache. */
#ifndef TIERFS_LOOKUP_COUNTS_H
#define TIERFS_LOOKUP_COUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t ino; /* 0: free */
    uint64_t count : 63;
    uint64_t orphan : 1;
} lookup_count;

typedef struct {
    lookup_count *slots;
    size_t mask, used;
} lookup_counts;

int tfs_lookup_counts_init(lookup_counts *all);
void tfs_lookup_counts_free(lookup_counts *all);

/* Returns -1 without memory, and has counted nothing then. */
int tfs_lookup_counts_add(lookup_counts *all, uint64_t ino, uint64_t count);

/* Takes up to `count` off; true when the count of an orphan drops to 0. */
bool tfs_lookup_counts_drop(lookup_counts *all, uint64_t ino, uint64_t count);

/* Marks an inode whose last name is gone; true when the kernel does not know it. */
bool tfs_lookup_counts_orphan(lookup_counts *all, uint64_t ino);
uint64_t tfs_lookup_counts_get(const lookup_counts *all, uint64_t ino);

static inline size_t lookup_counts_bytes(const lookup_counts *all) {
    return (all->mask + 1) * sizeof *all->slots;
}

#endif
