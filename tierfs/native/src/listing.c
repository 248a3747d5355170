/* Whether a name is still there, and what it is, is looked up in the cache when it is listed, while the kernel
   holds the directory locked (iterate_dir): so a page that is a little old never shows a name that is gone, from
   which the kernel would make a dentry. A name made since is behind the listing, as the newest come first
   (tierfs/metadata/dentries.py). */
#include "listing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct listing {
    pthread_mutex_t lock;
    _Atomic uint64_t changes;            /* written under the lock */
    hash_table by_directory;             /* lock */
    TAILQ_HEAD(, listing_page) lru;      /* lock: the one that was used last at the end */
    size_t used;                         /* lock: bytes */
    size_t limit;
};

listing *tfs_listing_new(size_t limit) {
    listing *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->limit = limit;
    TAILQ_INIT(&l->lru);
    if (pthread_mutex_init(&l->lock, NULL) || hash_table_init(&l->by_directory) < 0) {
        free(l);
        return NULL;
    }
    return l;
}

/* ---------------------------------------------------------------- pages, with the lock held */

void tfs_listing_page_free(listing_page *gone) {
    if (gone)
        free(gone->names);
    free(gone);
}

static size_t page_bytes(const listing_page *p) {
    const listing_entry *last = p->count ? &p->entries[p->count - 1] : NULL;
    return sizeof *p + p->count * sizeof *last + (last ? last->name + last->length : 0);
}

static void remove_page(listing *l, listing_page *gone) {
    hash_table_remove(&l->by_directory, &gone->node);
    TAILQ_REMOVE(&l->lru, gone, queued);
    l->used -= page_bytes(gone);
    tfs_listing_page_free(gone);
}

/* The next page of the directory in the chain of a bucket, from `from` on. */
static listing_page *of_directory(hash_node *from, uint64_t directory) {
    listing_page *each = (listing_page *)from;
    while (each && each->directory != directory)
        each = (listing_page *)each->node.chain;
    return each;
}

static listing_page *first_of(const listing *l, uint64_t directory) {
    return of_directory(hash_table_first(&l->by_directory, hash_number(directory)), directory);
}

static listing_page *next_of(const listing_page *p) {
    return of_directory(p->node.chain, p->directory);
}

/* The index of the entry behind `cookie`, or -1 when that is not on the page. Cookies grow. */
static ptrdiff_t position(const listing_page *p, uint64_t cookie) {
    size_t low = 0, high = p->count;
    if (cookie == p->after)
        return 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (p->entries[middle].cookie < cookie)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->count && p->entries[low].cookie == cookie ? (ptrdiff_t)low + 1 : -1;
}

/* The page with what follows `cookie`, and at which entry; NULL: there is none. */
static const listing_page *find_page(listing *l, uint64_t directory, uint64_t cookie, size_t *at) {
    for (listing_page *each = first_of(l, directory); each; each = next_of(each)) {
        ptrdiff_t found = position(each, cookie);
        if (found < 0 || ((size_t)found >= each->count && !each->end))
            continue;
        TAILQ_REMOVE(&l->lru, each, queued);
        TAILQ_INSERT_TAIL(&l->lru, each, queued);
        *at = (size_t)found;
        return each;
    }
    return NULL;
}

void tfs_listing_free(listing *l) {
    if (!l)
        return;
    while (!TAILQ_EMPTY(&l->lru))
        remove_page(l, TAILQ_FIRST(&l->lru));
    hash_table_free(&l->by_directory);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---------------------------------------------------------------- updates and cache fills */

/* A page that the new one continues was listed to its end, and makes way for it. */
static bool makes_way(const listing_page *old, const listing_page *added) {
    bool is_before = old->count && old->entries[old->count - 1].cookie == added->after;
    return is_before || old->after == added->after;
}

void tfs_listing_put(listing *l, listing_page *added) {
    pthread_mutex_lock(&l->lock);
    for (listing_page *each = first_of(l, added->directory), *next; each; each = next) {
        next = next_of(each);
        if (makes_way(each, added))
            remove_page(l, each);
    }
    added->node.hash = hash_number(added->directory);
    hash_table_add(&l->by_directory, &added->node);
    TAILQ_INSERT_TAIL(&l->lru, added, queued);
    l->used += page_bytes(added);
    while (l->used > l->limit && TAILQ_FIRST(&l->lru) != added)
        remove_page(l, TAILQ_FIRST(&l->lru));
    pthread_mutex_unlock(&l->lock);
}

void tfs_listing_drop(listing *l, uint64_t directory) {
    pthread_mutex_lock(&l->lock);
    l->changes++;
    for (listing_page *each = first_of(l, directory), *next; each; each = next) {
        next = next_of(each);
        remove_page(l, each);
    }
    pthread_mutex_unlock(&l->lock);
}

size_t tfs_listing_bytes(listing *l) {
    pthread_mutex_lock(&l->lock);
    size_t used = l->used;
    pthread_mutex_unlock(&l->lock);
    return used;
}

/* ---------------------------------------------------------------- READDIRPLUS */

/* Of . and .. the kernel makes no dentry (fuse_direntplus_link): their lookup count stays. */
static cache_result look_up(cache *c, const listing_page *p, const listing_entry *each, uint32_t thread,
                            struct fuse_entry_out *out) {
    *out = (struct fuse_entry_out){0};
    if (each->cookie <= LISTING_DOTS)
        return HIT;
    return tfs_cache_lookup(c, p->directory, p->names + each->name, each->length, thread, out);
}

static cache_result fill(cache *c, const listing_page *p, size_t at, uint32_t thread, uint8_t *out, size_t room,
                         size_t *length) {
    for (*length = 0; at < p->count; at++) {
        const listing_entry *each = &p->entries[at];
        struct fuse_entry_out entry;
        if (*length + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + each->length) > room)
            return *length ? HIT : MISS; /* length 0 would say that this is the end */
        cache_result known = look_up(c, p, each, thread, &entry);
        if (known == MISS)
            return *length ? HIT : MISS;
        bool has_inode = entry.nodeid != 0;
        if (known == HIT)
            *length += tfs_append_direntplus(out + *length, room - *length, p->names + each->name, each->length,
                                             each->cookie, has_inode ? entry.nodeid : each->ino,
                                             has_inode ? entry.attr.mode : each->mode, &entry);
    }
    return *length || p->end ? HIT : MISS; /* nothing left of this page, and others follow */
}

cache_result tfs_listing_fill(listing *l, cache *c, uint64_t directory, uint64_t cookie, uint32_t thread,
                              uint8_t *out, size_t room, size_t *length) {
    size_t at;
    cache_result result = MISS;
    pthread_mutex_lock(&l->lock);
    const listing_page *p = find_page(l, directory, cookie, &at);
    if (p)
        result = fill(c, p, at, thread, out, room, length);
    pthread_mutex_unlock(&l->lock);
    return result;
}

void tfs_listing_stamp(const listing *l, uint8_t *records, size_t length) {
    uint64_t changes = l->changes;
    for (size_t at = 0; at + FUSE_NAME_OFFSET_DIRENTPLUS <= length;) {
        struct fuse_direntplus *each = (void *)(records + at);
        each->dirent.off = tfs_stamp_cookie(each->dirent.off, changes);
        at += FUSE_DIRENTPLUS_SIZE(each);
    }
}
