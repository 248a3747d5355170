/* Requests that functions of Python answer at once, called by the leader: MKNOD and small WRITEs, of
   which making a small file consists.

   By way of pyfuse3 each would cost two messages through the socket and a turn of the event loop, which
   together take longer than the work itself. The leader calls only while one client alone makes
   requests, one after the other: so nobody else waits for Python's lock. And only while pyfuse3 owes no
   reply: so no request overtakes another (changing.h), and pyfuse3 cannot be waiting for the leader to
   take its replies. A function may say that it would have to wait: then the request is passed on. */
#ifndef TIERFS_CALLING_H
#define TIERFS_CALLING_H

#include "router.h"

enum {
    LONELY = 16,              /* requests in a row after which a client is taken for the only one */
    MOST_BYTES = 132 * 1024, /* of a request; larger ones may keep flash busy for long */
};

/* NULL without memory. `write` and `make` are functions of Python; see Router.call in _router.pyi for
   what they take and return. */
calling *calling_new(router *r, void *write, void *make);
/* With Python's lock, when the leader has ended; NULL is fine. */
void calling_free(calling *c);
/* Whether a function answered the request; `c` may be NULL. */
bool calling_answers(calling *c, const worker *w, const struct fuse_in_header *header,
                     const uint8_t *body, size_t length);
/* Before a thread ends that may have called. */
void calling_detach(void);

#endif
