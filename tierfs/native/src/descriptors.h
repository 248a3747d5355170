/* The table of descriptors of a thread that is a client of its own mount.

   Killed while it waits for a reply, such a thread ends only when there is one (request_wait_answer in fs/fuse/dev.c):
   by the next daemon, which takes over when the descriptors of this one are closed, and with them its locks gone. So
   these threads leave them. */
#ifndef TIERFS_DESCRIPTORS_H
#define TIERFS_DESCRIPTORS_H

#include <sys/syscall.h>
#include <unistd.h>

enum { FIRST_DESCRIPTOR = 3 }; /* but standard input, output and error */

/* The thread has a table of its own from now on, without these. -1: it has not, before Linux 5.9. */
static inline int tfs_leave_descriptors(unsigned first, unsigned last) {
    enum { UNSHARE = 2 }; /* CLOSE_RANGE_UNSHARE */
    return (int)syscall(SYS_close_range, first, last, UNSHARE);
}

#endif
