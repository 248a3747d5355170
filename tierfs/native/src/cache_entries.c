/* Eviction is S3-FIFO: new inodes go through a small queue, and only those that are used again enter the main one.

   What one open(2) needs in a row (LOOKUP, GETXATTR, READ) is one use: only a use that comes CORRELATED_S after
   the one before counts. So an epoch that reads each file once leaves what is used often where it is. */
#include "cache_entries.h"

#include <string.h>
#include <time.h>

enum {
    ALLOCATION = 16, /* bytes that an allocation costs besides, about (slab.h) */
    CORRELATED_S = 2,
    MOST_FREQUENT = 3,
    SMALL_SHARE = 10, /* the small queue gets a tenth */
    NEGATIVE_SHARE = 16,
};

/* Names are counted apart: they come and go while the inode stays in its queue. */
static const size_t INODE_BYTES = sizeof(inode) + ALLOCATION;

static size_t dentry_bytes(const dentry *each) {
    return sizeof *each + each->length + ALLOCATION;
}

static size_t xattrs_bytes(const inode *each) {
    return each->xattrs ? (size_t)each->xattrs_length + ALLOCATION : 0;
}

size_t tfs_cache_bytes(const cache *c) {
    return c->used + sizeof *c + hash_table_bytes(&c->inodes) + hash_table_bytes(&c->dentries) +
           lookup_counts_bytes(&c->lookups);
}

/* ---------------------------------------------------------------- queues */

static uint32_t now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)now.tv_sec;
}

static uint32_t fingerprint(const inode *each) {
    return (uint32_t)(each->node.hash >> 32) | 1;
}

static uint32_t *ghost_of(cache *c, const inode *each) {
    return &c->ghosts[each->node.hash % GHOSTS];
}

static void put_into(cache *c, inode *moved, queue_kind queue) {
    moved->queue = (uint8_t)queue;
    TAILQ_INSERT_HEAD(&c->queues[queue], moved, queued);
    c->queued[queue] += INODE_BYTES;
}

static void dequeue(cache *c, inode *gone) {
    TAILQ_REMOVE(&c->queues[gone->queue], gone, queued);
    c->queued[gone->queue] -= INODE_BYTES;
}

static void enqueue(cache *c, inode *added) {
    uint32_t *ghost = ghost_of(c, added);
    bool came_back = *ghost == fingerprint(added);
    if (came_back)
        *ghost = 0;
    added->last_use = now_s();
    added->frequency = 0;
    put_into(c, added, came_back ? MAIN : SMALL);
}

void tfs_touch(inode *used) {
    uint32_t now = now_s();
    if (now - used->last_use >= CORRELATED_S && used->frequency < MOST_FREQUENT)
        used->frequency++;
    used->last_use = now;
}

/* ---------------------------------------------------------------- found and added */

inode *tfs_find_inode(const cache *c, uint64_t ino) {
    uint64_t hash = hash_number(ino);
    for (hash_node *each = hash_table_first(&c->inodes, hash); each; each = each->chain)
        if (each->hash == hash && ((inode *)each)->row.ino == ino)
            return (inode *)each;
    return NULL;
}

static uint64_t hash_dentry(const cache *c, uint64_t parent, const char *name, size_t length) {
    return hash_name(c->seed ^ hash_number(parent), name, length);
}

dentry *tfs_find_dentry(const cache *c, uint64_t parent, const char *name, size_t length) {
    uint64_t hash = hash_dentry(c, parent, name, length);
    for (hash_node *each = hash_table_first(&c->dentries, hash); each; each = each->chain) {
        dentry *candidate = (dentry *)each;
        if (each->hash == hash && candidate->parent == parent && candidate->length == length &&
            !memcmp(candidate->name, name, length))
            return candidate;
    }
    return NULL;
}

inode *tfs_add_inode(cache *c, uint64_t ino) {
    inode *added = tfs_slab_alloc(&c->slabs, sizeof *added);
    if (!added)
        return NULL;
    TAILQ_INIT(&added->names);
    added->node.hash = hash_number(ino);
    added->row.ino = ino;
    hash_table_add(&c->inodes, &added->node);
    c->used += INODE_BYTES;
    enqueue(c, added);
    return added;
}

dentry *tfs_add_dentry(cache *c, uint64_t parent, const char *name, size_t length, inode *target) {
    dentry *added = tfs_slab_alloc(&c->slabs, sizeof *added + length);
    if (!added)
        return NULL;
    added->node.hash = hash_dentry(c, parent, name, length);
    added->parent = parent;
    added->length = (uint16_t)length;
    memcpy(added->name, name, length);
    hash_table_add(&c->dentries, &added->node);
    c->used += dentry_bytes(added);
    added->target = target;
    if (target) {
        TAILQ_INSERT_HEAD(&target->names, added, sibling);
    } else {
        TAILQ_INSERT_HEAD(&c->negatives, added, sibling);
        c->negative_bytes += dentry_bytes(added);
    }
    return added;
}

void tfs_set_xattrs(cache *c, inode *owner, const uint8_t *packed, size_t length) {
    uint8_t *copy = length ? tfs_slab_alloc(&c->slabs, length) : NULL;
    if (length && !copy)
        return;
    if (length)
        memcpy(copy, packed, length);
    owner->xattrs = copy;
    owner->xattrs_length = (uint16_t)length;
    owner->known_xattrs = true;
    c->used += xattrs_bytes(owner);
}

/* ---------------------------------------------------------------- removed */

void tfs_remove_dentry(cache *c, dentry *gone) {
    if (gone->target) {
        TAILQ_REMOVE(&gone->target->names, gone, sibling);
    } else {
        TAILQ_REMOVE(&c->negatives, gone, sibling);
        c->negative_bytes -= dentry_bytes(gone);
    }
    hash_table_remove(&c->dentries, &gone->node);
    c->used -= dentry_bytes(gone);
    tfs_slab_free(&c->slabs, gone, sizeof *gone + gone->length);
}

void tfs_break_completeness(cache *c, uint64_t directory) {
    inode *parent = tfs_find_inode(c, directory);
    if (parent)
        parent->filling = parent->complete = false;
}

void tfs_remove_xattrs(cache *c, inode *owner) {
    c->used -= xattrs_bytes(owner);
    tfs_slab_free(&c->slabs, owner->xattrs, owner->xattrs_length);
    owner->xattrs = NULL;
    owner->xattrs_length = 0;
    owner->known_xattrs = false;
}

void tfs_remove_inode(cache *c, inode *gone) {
    dentry *name;
    while ((name = TAILQ_FIRST(&gone->names))) {
        tfs_break_completeness(c, name->parent);
        tfs_remove_dentry(c, name);
    }
    tfs_remove_xattrs(c, gone);
    dequeue(c, gone);
    hash_table_remove(&c->inodes, &gone->node);
    c->used -= INODE_BYTES;
    tfs_slab_free(&c->slabs, gone, sizeof *gone);
}

/* ---------------------------------------------------------------- evicted */

/* The oldest of a queue is evicted, or gets a further round in the main queue. */
static void evict_or_move(cache *c, queue_kind queue, const inode *kept) {
    inode *oldest = TAILQ_LAST(&c->queues[queue], inode_queue);
    if (oldest != kept && oldest->frequency == 0) {
        *ghost_of(c, oldest) = fingerprint(oldest);
        c->evictions++;
        tfs_remove_inode(c, oldest);
        return;
    }
    dequeue(c, oldest);
    if (oldest != kept)
        oldest->frequency = queue == SMALL ? 0 : (uint8_t)(oldest->frequency - 1);
    put_into(c, oldest, MAIN);
}

static bool has_other(const cache *c, queue_kind queue, const inode *kept) {
    const inode *first = TAILQ_FIRST(&c->queues[queue]);
    return first && (first != kept || TAILQ_NEXT(first, queued));
}

void tfs_make_room(cache *c, const inode *kept) {
    while (c->negative_bytes > c->limit / NEGATIVE_SHARE)
        tfs_remove_dentry(c, TAILQ_LAST(&c->negatives, dentry_queue));
    while (tfs_cache_bytes(c) > c->limit && (has_other(c, SMALL, kept) || has_other(c, MAIN, kept))) {
        bool is_over_its_share = c->queued[SMALL] > c->limit / SMALL_SHARE;
        bool small = has_other(c, SMALL, kept) && (is_over_its_share || !has_other(c, MAIN, kept));
        evict_or_move(c, small ? SMALL : MAIN, kept);
    }
}
