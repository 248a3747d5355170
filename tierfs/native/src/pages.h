/* Pages of directory listings, kept by directory; those that nobody asks for go first. */
#ifndef TIERFS_PAGES_H
#define TIERFS_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "hashing.h"

typedef struct {
    uint64_t cookie; /* where the next entry begins */
    uint64_t ino;
    uint32_t mode;
    uint32_t name; /* where the name begins in `names` */
    uint16_t length;
} listed;

typedef struct page page;
struct page {
    node node; /* by directory */
    TAILQ_ENTRY(page) queued;
    uint64_t directory, after; /* the entries behind this cookie */
    bool end;                  /* and no more */
    size_t count;
    char *names;
    listed entries[];
};

typedef struct {
    hashing by_directory;
    TAILQ_HEAD(, page) queue; /* the one that was of use last at the end */
    size_t used, limit;       /* bytes */
} pages;

/* -1 without memory. */
int tfs_pages_init(pages *all, size_t limit);
void tfs_pages_free(pages *all);
void tfs_page_free(page *gone);
/* Takes the page over. */
void tfs_pages_put(pages *all, page *added);
void tfs_pages_drop(pages *all, uint64_t directory);
/* The page with what follows `cookie`, and at which entry; NULL: there is none. */
const page *tfs_pages_find(pages *all, uint64_t directory, uint64_t cookie, size_t *at);

#endif
