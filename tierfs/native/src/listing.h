/* Directory listings in the metadata cache: pages that say which name follows which. What the names are, the
   cache's dentries tell.

   The kernel caches listings too, and looks only at the beginning of one whether the directory has changed
   since (fuse_readdir_cached, fs/fuse/readdir.c). A listing that continues in the middle could get names from an
   older one that another process ends just then. So the cookies that the kernel sees are stamped with the count
   of changes: in a cache of another time the kernel does not find its place, and sends a request. */
#ifndef TIERFS_LISTING_H
#define TIERFS_LISTING_H

#include <sys/queue.h>

#include "cache.h"
#include "hash_table.h"

typedef struct {
    uint64_t cookie; /* where the next entry begins */
    uint64_t ino;
    uint32_t mode;
    uint32_t name; /* where the name begins in `names` */
    uint16_t length;
} listing_entry;

typedef struct listing_page listing_page;
struct listing_page {
    hash_node node; /* by directory */
    TAILQ_ENTRY(listing_page) queued;
    uint64_t directory, after; /* the entries behind this cookie */
    bool end;                  /* and no more */
    size_t count;
    char *names;
    listing_entry entries[];
};

void tfs_listing_page_free(listing_page *gone);

typedef struct listing listing;

/* NULL without memory; pages take up to `limit` bytes. */
listing *tfs_listing_new(size_t limit);
void tfs_listing_free(listing *l);
/* Takes the page over; those that were not used for longest are evicted. */
void tfs_listing_put(listing *l, listing_page *added);
/* Drops every page of a directory: a name was made or removed there, which counts as a change. */
void tfs_listing_drop(listing *l, uint64_t directory);
/* Bytes that the pages take. */
size_t tfs_listing_bytes(listing *l);

/* Fills `out` with fuse_direntplus records of what follows `cookie`, and adds to the lookup count of each.
   MISS: no page, or the first name is not cached any more. HIT with length 0: the end. */
cache_result tfs_listing_fill(listing *l, cache *c, uint64_t directory, uint64_t cookie, uint32_t thread,
                              uint8_t *out, size_t room, size_t *length);
/* Stamps the cookies in fuse_direntplus records with the present count of changes. */
void tfs_listing_stamp(const listing *l, uint8_t *records, size_t length);

#endif
