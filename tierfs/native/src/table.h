/* What Python has published: names, attributes, placements, extended attributes.

   One lock, held for less than a microsecond a call. Bounded: beyond `limit` bytes inodes go in the
   order of S3-FIFO (Yang et al., SOSP 2023), which one pass over many files does not empty.

   Every change is published after its commit and before its reply, by a thread that holds the
   index's lock. So what is found here was true at some moment between request and reply, which is
   all that a request that runs beside a change may expect.

   `thread` is who asks (fuse_in_header.pid), for telling.h. */
#ifndef TIERFS_TABLE_H
#define TIERFS_TABLE_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "newer.h"

typedef struct table table;

typedef struct {
    uint64_t ino, size, prefix, version;
    /* Nanoseconds since the epoch, those after 2262 wrapped around; btime 0: not known. */
    int64_t atime, mtime, ctime, btime;
    uint32_t mode, uid, gid, nlink, rdev;
    bool sparse; /* st_blocks is not known from the size: GETATTR is passed on each time */
} attributes;

typedef struct {
    uint64_t size, prefix, version;
} placement;

typedef enum { MISS, FOUND, ABSENT } found;

typedef struct {
    size_t inodes, entries, references, memory;
    uint64_t evictions;
} table_counts;

/* NULL without memory. */
table *tfs_table_new(size_t limit);
void tfs_table_free(table *t);

/* -------- publishing. Without memory a thing is not published, which is always correct. */
void tfs_table_put_inode(table *t, const attributes *row);
/* A change was committed; true: the kernel must be told that what it has of the inode is old (telling.h). */
bool tfs_table_change_inode(table *t, const attributes *row);
void tfs_table_drop_inode(table *t, uint64_t ino);
void tfs_table_put_entry(table *t, uint64_t parent, const char *name, size_t length, uint64_t ino);
void tfs_table_drop_entry(table *t, uint64_t parent, const char *name, size_t length);
/* `packed` as xattrs.h has it; NULL: not known. */
void tfs_table_put_xattrs(table *t, uint64_t ino, const uint8_t *packed, size_t length);
bool tfs_table_begin_directory(table *t, uint64_t ino);
bool tfs_table_complete_directory(table *t, uint64_t ino);
void tfs_table_clear(table *t);

/* -------- asking */

/* FOUND also takes a reference: before the reply is written, so that the FORGET which the kernel may
   send at once finds it. */
found tfs_table_lookup(table *t, uint64_t parent, const char *name, size_t length, uint32_t thread,
                   struct fuse_entry_out *out);
/* What a LOOKUP tells of an inode. */
struct fuse_entry_out tfs_entry_out_of(const attributes *row);
/* That there is no such name. */
struct fuse_entry_out tfs_absent_entry(void);
/* What a GETATTR tells. */
struct fuse_attr_out tfs_attr_out_of(const attributes *row);
enum { COUNTED_VALID_S = 1 }; /* as tierfs/daemon/adapter.py: seconds for blocks that were counted in the objects */
/* What a STATX tells of it. */
struct newer_statx_out tfs_statx_out_of(const attributes *row);
found tfs_table_statx(table *t, uint64_t ino, uint32_t thread, struct newer_statx_out *out);
found tfs_table_attributes(table *t, uint64_t ino, uint32_t thread, struct fuse_attr_out *out);
found tfs_table_placement(table *t, uint64_t ino, placement *out);

/* The value, or with an empty name the list of all; at most `room` bytes are stored, *length says
   how many there are. */
found tfs_table_xattr(table *t, uint64_t ino, const char *name, size_t name_length, uint8_t *out,
                  size_t room, size_t *length);

/* -------- references, see references.h */
int tfs_table_refer(table *t, uint64_t ino, uint64_t count);
void tfs_table_forget(table *t, uint64_t ino, uint64_t count);
/* An orphan that has lost its last reference, each once; 0: there is none. */
uint64_t tfs_table_next_forgotten(table *t);
bool tfs_table_orphan(table *t, uint64_t ino);
uint64_t tfs_table_references(table *t, uint64_t ino);

table_counts tfs_table_count(table *t);

#endif
