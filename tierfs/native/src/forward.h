/* Requests that have no function are forwarded to pyfuse3 unchanged, one message a packet, and its replies go back:
   INIT, DESTROY, those of a kernel that cannot do without OPEN, and kinds that the router does not know.

   `fh` holds the inode number: the kernel, which opens nothing, sends 0. INIT's reply is adapted to what the
   router does. */
#ifndef TIERFS_FORWARD_H
#define TIERFS_FORWARD_H

#include "router.h"

enum { INIT_ROOM = 256 }; /* bytes of INIT: its header, its fields, and those of kernels to come */

/* NULL without memory or descriptors; *peer is pyfuse3's end. */
forward *tfs_forward_new(router *r, uint32_t max_write, int *peer);
void tfs_forward_free(forward *f);
void tfs_forward_request(forward *f, const request *q);
/* Handles one message of pyfuse3: 1, 0 when there is none, -1 when pyfuse3 is gone. */
int tfs_forward_take_reply(forward *f, worker *leader);
/* Whether a reply of pyfuse3 is awaited; whether messages for it are queued. */
bool tfs_forward_waits(const forward *f);
bool tfs_forward_has_queued(const forward *f);
/* INIT as the kernel sent it, header and body: its length, at most INIT_ROOM; 0: there was none yet. */
size_t tfs_forward_init(const forward *f, uint8_t *message);
/* Gives pyfuse3 the INIT of a connection whose INIT an earlier daemon has answered: the reply goes nowhere. Before
   any other request. -1 and errno: it cannot be given. */
int tfs_forward_resume(forward *f, const uint8_t *message, size_t length);
void tfs_forward_flush(forward *f);

#endif
