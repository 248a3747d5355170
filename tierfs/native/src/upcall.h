/* Upcalls: a function of Python for each operation (tierfs/daemon/operations.py), whose value is the reply. */
#ifndef TIERFS_UPCALL_H
#define TIERFS_UPCALL_H

#include "operations.h"

typedef enum {
    UPCALL_REPLIED,     /* the reply was written */
    UPCALL_FILLED,      /* the metadata cache has it now */
    UPCALL_INDEX_BUSY,  /* it would wait for the index */
    UPCALL_WOULD_BLOCK, /* it would wait for a disk, or for another change of the same file */
} upcall_result;

/* With Python's lock; NULL with an exception. `functions` is an object of Python, as Router.set_upcalls takes it. */
upcalls *tfs_upcalls_new(void *functions);
/* With Python's lock, when no thread makes upcalls any more; NULL is fine. */
void tfs_upcalls_free(upcalls *u);
/* `u` may be NULL. */
bool tfs_upcall_has(const upcalls *u, uint32_t opcode);
/* Calls the function of `op` and replies. `again`: the cache was filled, and missed all the same. */
upcall_result tfs_upcall_make(upcalls *u, worker *w, request *q, const operation *op, bool again);
/* `unique` of the request whose upcall this thread is in; 0: it is in none. */
uint64_t tfs_upcall_unique(void);
/* The thread that sent it; 0: it is in none, or the kernel does not say. */
uint32_t tfs_upcall_sender(void);
/* The request is dropped. */
void tfs_upcall_drop(request *q);
/* Before a thread ends that may have made upcalls. */
void tfs_upcall_detach(void);

#endif
