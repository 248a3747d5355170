/* FUSE over io_uring, kernel 6.14+: Documentation/filesystems/fuse/fuse-io-uring.rst.

   A queue a core, each with a thread that stays on that core: a request is served on the core that
   made it, so that no other core must be woken, and one call submits a reply and waits for the
   next request. The device still brings INIT, FORGET and INTERRUPT and takes notifications. */
#ifndef TIERFS_URING_H
#define TIERFS_URING_H

#include "router.h"

/* NULL without memory. Nothing is made before it is known to be used. `serve` handles a request in the
   worker's buffer, whose reply goes to the channel. */
uring *tfs_uring_new(router *r, void (*serve)(worker *, channel *, size_t));
/* Makes the rings and says so in INIT's reply; false where the kernel does not offer it, or where they
   cannot be made: the device does it all then. */
bool tfs_uring_agree(uring *u, uint32_t offered_flags2, struct fuse_init_out *out);
/* INIT was answered so: the kernel now waits for the rings. */
void tfs_uring_begin(uring *u);
bool tfs_uring_has_begun(const uring *u);
/* Ends the threads; the rings stay, since others may still be replying. */
void tfs_uring_stop(uring *u);
/* Frees all but the counters. */
void tfs_uring_close(uring *u);
void tfs_uring_free(uring *u);
void tfs_uring_count(uring *u, counters *sum);

#endif
