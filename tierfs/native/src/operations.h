/* What the router does for each kind of request: the table, and the answers from the metadata cache.

   An operation that a function of Python is to answer needs a row in operations.c and a method
   of that name (tierfs/daemon/operations.py), and where it is counted a name in counters.h. */
#ifndef TIERFS_OPERATIONS_H
#define TIERFS_OPERATIONS_H

#include "prefetch.h"
#include "router.h"

/* What a function returns, and the reply says. */
typedef enum {
    REPLY_DONE,       /* None */
    REPLY_ENTRY,      /* an inode, whose lookup count has been added to; (): there is no such name */
    REPLY_ATTRIBUTES, /* an inode, or an inode and how many sectors it takes */
    REPLY_WRITTEN,    /* how many bytes */
    REPLY_BYTES,
    REPLY_XATTR,      /* bytes, of which the kernel may want the number alone */
    REPLY_LISTING,    /* rows of name, cookie and inode */
    REPLY_STATFS,     /* the fields of put_statfs */
    REPLY_OFFSET,
    REPLY_STATX,   /* as REPLY_ATTRIBUTES, with the time of birth */
    REPLY_CREATED, /* as REPLY_ENTRY, and the inode is open */
} reply_kind;

typedef enum {
    POOL_UPCALL, /* the worker itself; where it would wait, the pool for the index, and then that for disks */
    POOL_SYNC,   /* a pool of its own, for what always waits */
    POOL_TRIED,  /* the worker itself; where it would wait, the pool for the index, and then POOL_SYNC */
} pool_choice;

typedef struct {
    const char *function;  /* NULL: there is none */
    const char *arguments; /* what it gets behind the inode number, see tfs_parse_arguments() */
    reply_kind reply;
    request_kind counted;
    pool_choice pool;
    bool writes;  /* it is an in-flight write until its reply, see coherence.h */
    bool changes; /* attributes, likewise */
    /* Answers from the metadata cache; NULL: it cannot. Where it says UPCALL, the function is called, which may
       return None for: the cache is filled now, answer from there. */
    verdict (*answer)(worker *w, const request *q);
} operation;

/* NULL: one that is not known. */
const operation *tfs_operation_of(uint32_t opcode);
enum { OPERATIONS = 64 };

/* The kernel gives lookups back, or did not take the reply that had them. */
static inline void drop_lookups(router *r, uint64_t ino, uint64_t count) {
    tfs_cache_forget(r->cache, ino, count);
    tfs_prefetch_forget(r->prefetch, ino);
}

#endif
