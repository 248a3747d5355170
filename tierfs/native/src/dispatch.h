/* Where it is decided what happens with a request: answered here, by a disk thread, by an upcall, or by pyfuse3. */
#ifndef TIERFS_DISPATCH_H
#define TIERFS_DISPATCH_H

#include "router.h"

/* NULL without memory. */
upcall_queue *tfs_upcall_queue_new(router *r);
/* Ends its threads; what is queued is dropped. */
void tfs_upcall_queue_free(upcall_queue *u);

/* Handles a message of `size` bytes in the worker's buffer, to which `from` brings the reply. */
void tfs_dispatch(worker *w, channel *from, size_t size);

#endif
