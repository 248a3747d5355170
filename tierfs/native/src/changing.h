/* Which files are being changed by requests that were passed on.

   A change is published before its reply is written. In between the kernel does not keep a size that a
   GETATTR tells (FUSE_I_SIZE_UNSTABLE, fs/fuse/file.c): a native answer would show one stat(2) the new
   size, and the next one the old. So GETATTR of such a file is passed on, and queues behind the reply.
   One that was read before the change is answered from what was published before it: the change waits
   for the other workers (await_others). Requests by the rings are not in any order: there a stat(2)
   that runs beside a write may be ahead of the next one, as with every filesystem of several threads. */
#ifndef TIERFS_CHANGING_H
#define TIERFS_CHANGING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { MOST_CHANGES = 256 }; /* told apart at a time; what is beyond is answered natively */

typedef struct {
    pthread_mutex_t lock;
    struct {
        uint64_t unique, ino; /* lock; unique 0: free */
    } changes[MOST_CHANGES];
    _Atomic unsigned count; /* written under the lock */
} changing;

void tfs_changing_init(changing *all);
void tfs_changing_add(changing *all, uint64_t unique, uint64_t ino);
/* The reply was written. */
void tfs_changing_remove(changing *all, uint64_t unique);
bool tfs_changing_has(changing *all, uint64_t ino);

#endif
