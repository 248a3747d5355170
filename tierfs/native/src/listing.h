/* Pages of directory listings: in which order the names come. What they are, the table tells. */
#ifndef TIERFS_LISTING_H
#define TIERFS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pages.h"
#include "table.h"

typedef struct listing listing;

/* NULL without memory; pages take up to `limit` bytes. */
listing *tfs_listing_new(size_t limit);
void tfs_listing_free(listing *l);
/* Takes the page over; those go that nobody asks for. */
void tfs_listing_put(listing *l, page *added);
/* Drops every page of a directory: a name was made or removed there, which counts as a change. */
void tfs_listing_drop(listing *l, uint64_t directory);

/* Fills `out` with fuse_direntplus records of what follows `cookie`, and takes a reference for each.
   MISS: no page, or the table no longer knows the first name. FOUND with length 0: the end. */
found tfs_listing_fill(listing *l, table *t, uint64_t directory, uint64_t cookie, uint32_t thread,
                   uint8_t *out, size_t room, size_t *length);

enum { LISTING_DOTS = 2 }; /* cookies of . and .. (tierfs/fs/directory.py) */
/* One fuse_direntplus record; its size, or 0 where there is no room. */
size_t tfs_listing_append(uint8_t *out, size_t room, const char *name, size_t length, uint64_t cookie, uint64_t ino,
                      uint32_t mode, const struct fuse_entry_out *entry);

/* The kernel caches listings, and looks only at the beginning of one whether the directory has changed
   since (fuse_readdir_cached, fs/fuse/readdir.c). What goes on in the middle could get names from an older
   listing that another process ends just then. So the cookies that the kernel sees bear the count of
   changes: in a cache of another time the kernel does not find its place, and asks us.

   Gives the cookies in fuse_direntplus records the present count; */
void tfs_listing_stamp(const listing *l, uint8_t *records, size_t length);
/* and the cookie without it. */
uint64_t tfs_listing_cookie(uint64_t stamped);
/* Bytes that the pages take. */
size_t tfs_listing_bytes(listing *l);

#endif
