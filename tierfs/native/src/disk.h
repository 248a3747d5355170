/* Threads for READs that must wait for a disk, and for read-ahead.

   As many READs wait at a time as there are threads, so that a disk with a queue, or many disks, can
   serve them in the order that suits it. */
#ifndef TIERFS_DISK_H
#define TIERFS_DISK_H

#include "router.h"

/* NULL without memory. The jobs of its pool get a worker that may wait. */
disk *tfs_disk_new(router *r, const pool_settings *pool);
/* Ends the threads; NULL is fine. */
void tfs_disk_stop(disk *d);
/* And drops what is queued. */
void tfs_disk_free(disk *d);
/* Has `j`, a READ of the file, run by a thread of the disk pool, which calls the three below; false without memory. */
bool tfs_disk_add(disk *d, job *j, uint64_t ino);
/* The READ waits for the disk now: starts the read-ahead that it makes worthwhile. */
void tfs_disk_begin_read(disk *d, uint64_t ino, const struct fuse_read_in *in);
void tfs_disk_end_read(disk *d, uint64_t ino);
/* It was replied to: drops what was read ahead and is read now. */
void tfs_disk_drop_read(disk *d, uint64_t ino, const placement *file, uint64_t offset, size_t length);
/* A READ of the file that did not wait was served: starts the read-ahead that it makes worthwhile, and drops what was read ahead and
   is read now. */
void tfs_disk_read_ahead(disk *d, uint64_t ino, const placement *file, uint64_t offset, size_t length);

#endif
