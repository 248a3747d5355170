/* The metadata cache: attributes, names, placements and extended attributes, from which requests are answered.

   One lock, held for less than a microsecond a call. Bounded: beyond `limit` bytes inodes are evicted in the
   order of S3-FIFO (Yang et al., SOSP 2023), which a scan of many files does not empty.

   The cache updater puts each change here after its commit and before its reply, in a thread that holds the index's
   lock. So what is here was true at some moment between request and reply, which is all that a request that
   runs beside a change may expect.

   `thread` is who made a request (fuse_in_header.pid), for coherence.h. */
#ifndef TIERFS_CACHE_H
#define TIERFS_CACHE_H

#include "protocol.h"

typedef struct cache cache;

/* Where the bytes of a file are. */
typedef struct {
    uint64_t size, prefix, version;
    bool adopted; /* as in attributes */
} placement;

/* NEGATIVE: there is no such name, or no such extended attribute. */
typedef enum { MISS, HIT, NEGATIVE } cache_result;

typedef struct {
    size_t inodes, dentries, known_inodes, memory;
    uint64_t evictions;
} cache_stats;

/* NULL without memory. */
cache *tfs_cache_new(size_t limit);
void tfs_cache_free(cache *c);
cache_stats tfs_cache_stats(cache *c);

/* -------- for the cache updater, and cache fills. Without memory a thing is not cached, which is always correct. */

void tfs_cache_put_inode(cache *c, const attributes *row);
/* It was made by a request of the thread, whose reply is the first that has its attributes; 0: not known by which. */
void tfs_cache_make_inode(cache *c, const attributes *row, uint32_t thread);
/* A change was committed; true: the kernel's attributes of the inode must be invalidated (coherence.h). */
bool tfs_cache_change_inode(cache *c, const attributes *row);
void tfs_cache_drop_inode(cache *c, uint64_t ino);
/* `ino` 0: a negative entry. */
void tfs_cache_put_dentry(cache *c, uint64_t parent, const char *name, size_t length, uint64_t ino);
void tfs_cache_drop_dentry(cache *c, uint64_t parent, const char *name, size_t length);
/* `packed` as xattrs.h has it; NULL: not known. */
void tfs_cache_put_xattrs(cache *c, uint64_t ino, const uint8_t *packed, size_t length);
/* False: the directory is complete already, or not cached. */
bool tfs_cache_begin_fill(cache *c, uint64_t directory);
/* Whether all its names stayed in the cache: the directory is complete. */
bool tfs_cache_complete_fill(cache *c, uint64_t directory);
void tfs_cache_clear(cache *c);

/* -------- for requests */

/* A HIT also adds to the lookup count: before the reply is written, so that the FORGET which the kernel may
   send at once finds it. */
cache_result tfs_cache_lookup(cache *c, uint64_t parent, const char *name, size_t length, uint32_t thread,
                              struct fuse_entry_out *out);
cache_result tfs_cache_getattr(cache *c, uint64_t ino, uint32_t thread, struct fuse_attr_out *out);
cache_result tfs_cache_statx(cache *c, uint64_t ino, uint32_t thread, struct fuse_statx_out *out);
cache_result tfs_cache_placement(cache *c, uint64_t ino, placement *out);
/* The same without counting as a use, and the directory of a name of it, which of a directory is itself; 0: none is
   cached. MISS where it is no file; the directory is set all the same. */
cache_result tfs_cache_whereabouts(cache *c, uint64_t ino, placement *out, uint64_t *directory);
/* The value, or with an empty name the list of all; at most `room` bytes are stored, *length says
   how many there are. */
cache_result tfs_cache_getxattr(cache *c, uint64_t ino, const char *name, size_t name_length, uint8_t *out,
                                size_t room, size_t *length);

/* -------- recipients of attributes: which threads may still put an older reply into the kernel's cache */

/* Python replies with an inode's attributes, or with those of any inode: nobody knows to whom. */
void tfs_cache_add_unknown_recipient(cache *c, uint64_t ino);
void tfs_cache_add_unknown_recipients(cache *c);
/* A thread that makes a request is done with the replies that it got before about an inode, or the inode of a name. */
void tfs_cache_received(cache *c, uint64_t ino, uint32_t thread);
void tfs_cache_received_name(cache *c, uint64_t parent, const char *name, size_t length, uint32_t thread);

/* -------- lookup counts, see lookup_counts.h */

int tfs_cache_add_lookups(cache *c, uint64_t ino, uint64_t count);
void tfs_cache_forget(cache *c, uint64_t ino, uint64_t count);
/* The orphans whose lookup counts dropped to 0 since the last call; who calls frees `*found`. */
size_t tfs_cache_take_forgotten(cache *c, uint64_t **found);
/* The inode lost its last name; true: its lookup count is 0. */
bool tfs_cache_orphan(cache *c, uint64_t ino);
uint64_t tfs_cache_lookup_count(cache *c, uint64_t ino);

#endif
