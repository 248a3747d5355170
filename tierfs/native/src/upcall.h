/* Calls of Python: a function for each operation (tierfs/daemon/operations.py), whose value is the reply. */
#ifndef TIERFS_UPCALL_H
#define TIERFS_UPCALL_H

#include "operations.h"

typedef enum {
    CALL_DONE,      /* it was replied to */
    CALL_PUBLISHED, /* what is asked for is in the table now */
    CALL_BUSY,      /* it would wait for the index */
    CALL_WAITS,     /* it would wait for a disk, or for another change of the same file */
} call_result;

/* With Python's lock; NULL with an exception. `functions` is an object of Python, as Router.call takes it. */
upcalls *tfs_upcalls_new(void *functions);
/* With Python's lock, when no thread calls any more; NULL is fine. */
void tfs_upcalls_free(upcalls *u);
/* `u` may be NULL. */
bool tfs_upcall_has(const upcalls *u, uint32_t opcode);
/* Calls the function of `op` and replies. `again`: what can be published does not help. */
call_result tfs_upcall_make(upcalls *u, worker *w, request *q, const operation *op, bool again);
/* The request is not gone on with. */
void tfs_upcall_drop(request *q);
/* Before a thread ends that may have called. */
void tfs_upcall_detach(void);

#endif
