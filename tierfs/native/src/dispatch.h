/* Where it is decided what happens with a request: answered here, by a disk thread, by a function of
   Python, or by pyfuse3. */
#ifndef TIERFS_DISPATCH_H
#define TIERFS_DISPATCH_H

#include "router.h"

/* NULL without memory. */
calls *tfs_calls_new(router *r);
/* Ends its threads; what is queued is dropped. */
void tfs_calls_free(calls *c);

/* Deals with a message of `size` bytes in the worker's buffer, to be answered by `from`. */
void tfs_dispatch(worker *w, channel *from, size_t size);

#endif
