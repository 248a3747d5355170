/* What the files of the table share: nodes.c, told.c, eviction.c, table.c and asking.c, each of which calls only
   those before it. Everything here is under the table's lock. */
#ifndef TIERFS_TABLE_PARTS_H
#define TIERFS_TABLE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "hashing.h"
#include "heap.h"
#include "references.h"
#include "table.h"

enum { GHOSTS = 1 << 16 };

typedef struct entry entry;
typedef struct inode inode;
TAILQ_HEAD(inode_queue, inode);
TAILQ_HEAD(entry_queue, entry);

struct entry {
    node node; /* by parent and name */
    TAILQ_ENTRY(entry) sibling; /* among the names of its inode, or among the absent names */
    inode *target; /* NULL: there is no such name */
    uint64_t parent;
    uint16_t length;
    char name[];
};

typedef enum { SMALL, MAIN } queue_kind;

struct inode {
    node node; /* by number */
    TAILQ_ENTRY(inode) queued;
    struct entry_queue names;
    uint8_t *xattrs; /* packed; NULL with known_xattrs: none */
    attributes row;
    uint32_t seen; /* seconds: when it was asked for last */
    uint32_t told, told_era; /* to which thread the attributes were told since the kernel's were marked old; told.h */
    uint16_t xattrs_length;
    uint8_t frequency; /* how often it was asked for again, up to MOST_FREQUENT */
    uint8_t queue;
    bool known_xattrs;
    bool listing, complete; /* of a directory: being published; every name is published */
};

struct table {
    pthread_mutex_t lock; /* of all that follows */
    uint64_t seed;
    heap heap; /* of inodes, entries and extended attributes */
    hashing inodes, entries;
    references references;
    struct inode_queue queues[2];
    size_t queued[2]; /* bytes of each queue */
    struct entry_queue absent;
    size_t absent_bytes;
    size_t used, limit; /* bytes of nodes; bytes that all may take, hash tables included */
    uint64_t evictions;
    uint64_t *forgotten; /* orphans without a reference, that nobody was told of */
    size_t forgotten_room;
    _Atomic size_t forgotten_count;
    uint32_t era; /* grows when attributes are told that are not seen here */
    uint32_t ghosts[GHOSTS]; /* fingerprints of inodes that went lately */
};

/* -------- nodes.c */
inode *tfs_find_inode(const table *t, uint64_t ino);
entry *tfs_find_entry(const table *t, uint64_t parent, const char *name, size_t length);
uint64_t tfs_hash_entry(const table *t, uint64_t parent, const char *name, size_t length);
size_t tfs_inode_bytes(const inode *each);
size_t tfs_entry_bytes(const entry *each);
size_t tfs_xattrs_bytes(const inode *each);
/* All that the table takes. */
size_t tfs_table_bytes(const table *t);
void tfs_remove_entry(table *t, entry *gone);
void tfs_remove_inode(table *t, inode *gone);
void tfs_forget_xattrs(table *t, inode *each);
/* A name is no longer known, so what is not found in its directory may exist. */
void tfs_break_completeness(table *t, uint64_t directory);
void tfs_enqueue(table *t, inode *added);
void tfs_dequeue(table *t, inode *gone);
void tfs_put_into(table *t, inode *moved, queue_kind queue);
uint32_t tfs_fingerprint(const inode *each);
uint32_t *tfs_ghost_of(table *t, const inode *each);
/* Counts one more time that an inode was of use. */
void tfs_touch(inode *used);

/* -------- eviction.c */
/* Evicts until the table is within its limit; never `kept`. */
void tfs_make_room(table *t, const inode *kept);

#endif
