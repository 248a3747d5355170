/* The entries of the metadata cache: found, added, removed, and evicted. For cache.c alone; everything here is
   under the cache's lock. */
#ifndef TIERFS_CACHE_ENTRIES_H
#define TIERFS_CACHE_ENTRIES_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "cache.h"
#include "hash_table.h"
#include "lookup_counts.h"
#include "slab.h"

enum { GHOSTS = 1 << 16 };

typedef struct dentry dentry;
typedef struct inode inode;
TAILQ_HEAD(inode_queue, inode);
TAILQ_HEAD(dentry_queue, dentry);

struct dentry {
    hash_node node;              /* by parent and name */
    TAILQ_ENTRY(dentry) sibling; /* among the names of its inode, or among the negative entries */
    inode *target;               /* NULL: a negative entry */
    uint64_t parent;
    uint16_t length;
    char name[];
};

typedef enum { SMALL, MAIN } queue_kind;

struct inode {
    hash_node node; /* by number */
    TAILQ_ENTRY(inode) queued;
    struct dentry_queue names;
    uint8_t *xattrs; /* packed; NULL with known_xattrs: none */
    attributes row;
    uint32_t last_use;                 /* seconds */
    uint32_t recipient, recipient_era; /* who got the attributes since the kernel's were invalidated; cache.c */
    uint16_t xattrs_length;
    uint8_t frequency; /* later uses, up to MOST_FREQUENT */
    uint8_t queue;
    bool known_xattrs;
    bool filling, complete; /* of a directory: a cache fill is under way; every name is cached */
};

struct cache {
    pthread_mutex_t lock; /* of all that follows */
    uint64_t seed;
    slabs slabs; /* of inodes, dentries and extended attributes */
    hash_table inodes, dentries;
    lookup_counts lookups;
    struct inode_queue queues[2];
    size_t queued[2]; /* bytes of each queue */
    struct dentry_queue negatives;
    size_t negative_bytes;
    size_t used, limit; /* bytes of entries; bytes that all may take, hash tables included */
    uint64_t evictions;
    uint64_t *forgotten; /* orphans whose lookup count has dropped to 0, until they are taken */
    size_t forgotten_room;
    size_t forgotten_count;
    uint32_t era;                   /* grows when any inode may have a recipient that is not known */
    uint32_t ghosts[GHOSTS];        /* fingerprints of inodes that were evicted recently */
};

inode *tfs_find_inode(const cache *c, uint64_t ino);
dentry *tfs_find_dentry(const cache *c, uint64_t parent, const char *name, size_t length);
/* NULL without memory. */
inode *tfs_add_inode(cache *c, uint64_t ino);
/* `target` NULL: a negative entry. NULL without memory. */
dentry *tfs_add_dentry(cache *c, uint64_t parent, const char *name, size_t length, inode *target);
void tfs_set_xattrs(cache *c, inode *owner, const uint8_t *packed, size_t length);
void tfs_remove_xattrs(cache *c, inode *owner);
void tfs_remove_dentry(cache *c, dentry *gone);
void tfs_remove_inode(cache *c, inode *gone);
/* A name is no longer cached, so a name that is not found in its directory may exist. */
void tfs_break_completeness(cache *c, uint64_t directory);

/* Counts a use of an inode, which keeps it longer. */
void tfs_touch(inode *used);
/* All that the cache takes. */
size_t tfs_cache_bytes(const cache *c);
/* Evicts until the cache is within its limit; never `kept`. */
void tfs_make_room(cache *c, const inode *kept);

#endif
