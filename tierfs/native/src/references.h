/* How often the kernel knows each inode (fs/fuse/inode.c: nlookup). Not locked: the table's lock. */
#ifndef TIERFS_REFERENCES_H
#define TIERFS_REFERENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t ino; /* 0: free */
    uint64_t count : 63;
    uint64_t orphan : 1;
} reference;

typedef struct {
    reference *slots;
    size_t mask, used;
} references;

int tfs_references_init(references *all);
void tfs_references_free(references *all);

/* Returns -1 without memory, and has counted nothing then. */
int tfs_references_add(references *all, uint64_t ino, uint64_t count);

/* Takes up to `count` off; true when an orphan lost its last one. */
bool tfs_references_drop(references *all, uint64_t ino, uint64_t count);

/* Marks an inode whose last name is gone; true when there is no reference to wait for. */
bool tfs_references_orphan(references *all, uint64_t ino);
uint64_t tfs_references_count(const references *all, uint64_t ino);

static inline size_t references_bytes(const references *all) {
    return (all->mask + 1) * sizeof *all->slots;
}

#endif
