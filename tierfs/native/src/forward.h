/* What no function is for goes to pyfuse3 as it is, one message a packet, and its replies back: INIT, DESTROY,
   what a kernel asks that cannot do without OPEN, and what the router does not know.

   `fh` holds the inode number: the kernel, which opens nothing, sends 0. INIT's reply is adapted to what the
   router does. */
#ifndef TIERFS_FORWARD_H
#define TIERFS_FORWARD_H

#include "router.h"

/* NULL without memory or descriptors; *peer is pyfuse3's end. */
forward *tfs_forward_new(router *r, uint32_t max_write, int *peer);
void tfs_forward_free(forward *f);
void tfs_forward_request(forward *f, const request *q);
/* Deals with one message of pyfuse3: 1, 0 when there is none, -1 when pyfuse3 is gone. */
int tfs_forward_take_reply(forward *f, worker *leader);
/* Whether pyfuse3 owes a reply; whether messages for it are queued. */
bool tfs_forward_waits(const forward *f);
bool tfs_forward_has_queued(const forward *f);
void tfs_forward_flush(forward *f);

#endif
