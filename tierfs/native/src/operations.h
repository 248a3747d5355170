/* What the router knows to do for each kind of request.

   An operation that is to be answered by a function of Python needs a row in operations.c and a method
   of that name (tierfs/daemon/operations.py), and where it is counted a name in counters.h. */
#ifndef TIERFS_OPERATIONS_H
#define TIERFS_OPERATIONS_H

#include "router.h"

/* What a function returns, and the kernel is told. */
typedef enum {
    REPLY_NONE,       /* nothing, not even that it is done */
    REPLY_DONE,       /* None */
    REPLY_ENTRY,      /* an inode, of which a reference was taken; (): there is no such name */
    REPLY_ATTRIBUTES, /* an inode, or an inode and how many sectors it takes */
    REPLY_WRITTEN,    /* how many bytes */
    REPLY_BYTES,
    REPLY_XATTR,      /* bytes, of which the kernel may want the number alone */
    REPLY_LISTING,    /* lines of name, cookie and inode */
    REPLY_STATFS,     /* the fields of put_statfs */
    REPLY_OFFSET,
    REPLY_STATX,   /* as REPLY_ATTRIBUTES, with the time of birth */
    REPLY_CREATED, /* an inode, of which a reference was taken, and which is open */
} reply_kind;

typedef enum {
    POOL_CALLS, /* the worker itself; where it would have to wait, the pool of calls, and then that for disks */
    POOL_SYNC,  /* a pool of its own, for what always waits */
    POOL_TRIED, /* the worker itself; where it would have to wait, POOL_SYNC */
} pool_choice;

typedef struct {
    const char *function;  /* NULL: there is none */
    const char *arguments; /* what it gets behind the inode number, see arguments.h */
    reply_kind reply;
    answer_kind counted;
    pool_choice pool;
    bool resizes; /* see changing.h */
    bool changes; /* see telling.h */
    /* Answers from the table; NULL: it cannot. Where it says ASK, the function is called, which may
       return None for: it is published now, answer by yourself. */
    verdict (*answer)(worker *w, const request *q);
} operation;

/* NULL: one that is not known. */
const operation *tfs_operation_of(uint32_t opcode);
enum { OPERATIONS = 64 };

#endif
