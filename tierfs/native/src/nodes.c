/* Finding and removing what the table holds, and the queues that its inodes are in. */
#include <string.h>
#include <time.h>

#include "table_parts.h"

enum {
    ALLOCATION = 16, /* what keeping one more thing costs, about (heap.h) */
    CORRELATED_S = 2,
    MOST_FREQUENT = 3,
};

/* ---------------------------------------------------------------- queues */

static uint32_t now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)now.tv_sec;
}

uint32_t tfs_fingerprint(const inode *each) {
    return (uint32_t)(each->node.hash >> 32) | 1;
}

uint32_t *tfs_ghost_of(table *t, const inode *each) {
    return &t->ghosts[each->node.hash % GHOSTS];
}

void tfs_put_into(table *t, inode *moved, queue_kind queue) {
    moved->queue = (uint8_t)queue;
    TAILQ_INSERT_HEAD(&t->queues[queue], moved, queued);
    t->queued[queue] += tfs_inode_bytes(moved);
}

void tfs_dequeue(table *t, inode *gone) {
    TAILQ_REMOVE(&t->queues[gone->queue], gone, queued);
    t->queued[gone->queue] -= tfs_inode_bytes(gone);
}

void tfs_enqueue(table *t, inode *added) {
    uint32_t *ghost = tfs_ghost_of(t, added);
    bool came_back = *ghost == tfs_fingerprint(added);
    if (came_back)
        *ghost = 0;
    added->seen = now_s();
    added->frequency = 0;
    tfs_put_into(t, added, came_back ? MAIN : SMALL);
}

void tfs_touch(inode *used) {
    uint32_t now = now_s();
    if (now - used->seen >= CORRELATED_S && used->frequency < MOST_FREQUENT)
        used->frequency++;
    used->seen = now;
}

/* ---------------------------------------------------------------- names */

size_t tfs_entry_bytes(const entry *each) {
    return sizeof *each + each->length + ALLOCATION;
}

size_t tfs_table_bytes(const table *t) {
    return t->used + sizeof *t + hashing_bytes(&t->inodes) + hashing_bytes(&t->entries) +
           references_bytes(&t->references);
}

/* Names are counted apart: they come and go while the inode stays in its queue. */
size_t tfs_inode_bytes(const inode *each) {
    return sizeof *each + ALLOCATION;
}

size_t tfs_xattrs_bytes(const inode *each) {
    return each->xattrs ? (size_t)each->xattrs_length + ALLOCATION : 0;
}

inode *tfs_find_inode(const table *t, uint64_t ino) {
    uint64_t hash = hash_number(ino);
    for (node *each = hashing_first(&t->inodes, hash); each; each = each->chain)
        if (each->hash == hash && ((inode *)each)->row.ino == ino)
            return (inode *)each;
    return NULL;
}

uint64_t tfs_hash_entry(const table *t, uint64_t parent, const char *name, size_t length) {
    return hash_name(t->seed ^ hash_number(parent), name, length);
}

entry *tfs_find_entry(const table *t, uint64_t parent, const char *name, size_t length) {
    uint64_t hash = tfs_hash_entry(t, parent, name, length);
    for (node *each = hashing_first(&t->entries, hash); each; each = each->chain) {
        entry *candidate = (entry *)each;
        if (each->hash == hash && candidate->parent == parent && candidate->length == length &&
            !memcmp(candidate->name, name, length))
            return candidate;
    }
    return NULL;
}

void tfs_remove_entry(table *t, entry *gone) {
    if (gone->target) {
        TAILQ_REMOVE(&gone->target->names, gone, sibling);
    } else {
        TAILQ_REMOVE(&t->absent, gone, sibling);
        t->absent_bytes -= tfs_entry_bytes(gone);
    }
    tfs_hashing_remove(&t->entries, &gone->node);
    t->used -= tfs_entry_bytes(gone);
    tfs_heap_give(&t->heap, gone, sizeof *gone + gone->length);
}

/* A name is no longer known, so what is not found in its directory may exist. */
void tfs_break_completeness(table *t, uint64_t directory) {
    inode *parent = tfs_find_inode(t, directory);
    if (parent)
        parent->listing = parent->complete = false;
}

void tfs_forget_xattrs(table *t, inode *each) {
    t->used -= tfs_xattrs_bytes(each);
    tfs_heap_give(&t->heap, each->xattrs, each->xattrs_length);
    each->xattrs = NULL;
    each->xattrs_length = 0;
    each->known_xattrs = false;
}

void tfs_remove_inode(table *t, inode *gone) {
    entry *name;
    while ((name = TAILQ_FIRST(&gone->names))) {
        tfs_break_completeness(t, name->parent);
        tfs_remove_entry(t, name);
    }
    tfs_forget_xattrs(t, gone);
    tfs_dequeue(t, gone);
    tfs_hashing_remove(&t->inodes, &gone->node);
    t->used -= tfs_inode_bytes(gone);
    tfs_heap_give(&t->heap, gone, sizeof *gone);
}
