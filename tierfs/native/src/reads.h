/* The bytes of a READ, from the objects. */
#ifndef TIERFS_READS_H
#define TIERFS_READS_H

#include "router.h"

typedef enum {
    READ_DONE,   /* `length` bytes are there, of the `file` as it was all the while */
    READ_WAIT,   /* a disk is needed, and waiting was not allowed */
    READ_UPCALL, /* only Python can reply */
} read_result;

/* -1 and errno. */
int tfs_store_open(store *s, int directory);
read_result tfs_read_file(router *r, counters *c, uint64_t ino, const struct fuse_read_in *in, bool wait, uint8_t *out,
                          size_t *length, placement *file);
/* Read-ahead: has the kernel read a range of the disk object; may wait. */
void tfs_object_willneed(router *r, uint64_t ino, uint64_t offset, uint64_t length);
/* Has it drop a range of the disk object, which it holds as pages of the mount as well. */
void tfs_object_dontneed(router *r, uint64_t ino, uint64_t offset, uint64_t length);

#endif
