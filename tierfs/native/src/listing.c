/* A page says which names follow which. Whether a name is still there, and what it is, is looked up in
   the table when it is listed, while the kernel holds the directory locked (iterate_dir): so a page
   that is a little old never shows a name that is gone, from which the kernel would make a dentry. A
   name made since is behind the listing, as the newest come first (tierfs/metadata/dentries.py). */
#include "listing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_SHIFT = 12 };

/* A cookie is 2^62 less a number that nothing ever reaches (tierfs/metadata/dentries.py): its upper bits are
   ones, and make room for a stamp. Others are of . and .. and stay as they are. */
static const unsigned STAMP_AT = 45, STAMPED_AT = 62;
static const uint64_t STAMP_MASK = (1 << 17) - 1;

struct listing {
    pthread_mutex_t lock;
    _Atomic uint64_t changes; /* written under the lock */
    pages pages;              /* lock */
};

listing *tfs_listing_new(size_t limit) {
    listing *l = calloc(1, sizeof *l);
    if (l && (pthread_mutex_init(&l->lock, NULL) || tfs_pages_init(&l->pages, limit) < 0)) {
        free(l);
        return NULL;
    }
    return l;
}

void tfs_listing_free(listing *l) {
    if (!l)
        return;
    tfs_pages_free(&l->pages);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void tfs_listing_put(listing *l, page *added) {
    pthread_mutex_lock(&l->lock);
    tfs_pages_put(&l->pages, added);
    pthread_mutex_unlock(&l->lock);
}

void tfs_listing_drop(listing *l, uint64_t directory) {
    pthread_mutex_lock(&l->lock);
    l->changes++;
    tfs_pages_drop(&l->pages, directory);
    pthread_mutex_unlock(&l->lock);
}

size_t tfs_listing_bytes(listing *l) {
    pthread_mutex_lock(&l->lock);
    size_t used = l->pages.used;
    pthread_mutex_unlock(&l->lock);
    return used;
}

/* Dots bear no reference: the kernel makes no dentry of them (fuse_direntplus_link). */
static found entry_of(table *t, const page *p, const listed *each, uint32_t thread,
                      struct fuse_entry_out *out) {
    *out = (struct fuse_entry_out){0};
    if (each->cookie <= LISTING_DOTS)
        return FOUND;
    return tfs_table_lookup(t, p->directory, p->names + each->name, each->length, thread, out);
}

size_t tfs_listing_append(uint8_t *out, size_t room, const char *name, size_t length, uint64_t cookie, uint64_t ino,
                      uint32_t mode, const struct fuse_entry_out *entry) {
    struct fuse_direntplus *record = (struct fuse_direntplus *)(void *)out;
    size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length);
    if (size > room)
        return 0;
    memset(out, 0, size);
    record->entry_out = *entry;
    record->dirent.ino = ino;
    record->dirent.off = cookie;
    record->dirent.namelen = (uint32_t)length;
    record->dirent.type = mode >> TYPE_SHIFT & 0xf;
    memcpy(record->dirent.name, name, length);
    return size;
}

static size_t append(uint8_t *out, size_t room, const page *p, const listed *each, const struct fuse_entry_out *entry) {
    bool known = entry->nodeid != 0;
    return tfs_listing_append(out, room, p->names + each->name, each->length, each->cookie,
                          known ? entry->nodeid : each->ino, known ? entry->attr.mode : each->mode, entry);
}

static found fill(table *t, const page *p, size_t at, uint32_t thread, uint8_t *out, size_t room,
                  size_t *length) {
    for (*length = 0; at < p->count; at++) {
        const listed *each = &p->entries[at];
        struct fuse_entry_out entry;
        if (*length + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + each->length) > room)
            return *length ? FOUND : MISS; /* length 0 would say that this is the end */
        found known = entry_of(t, p, each, thread, &entry);
        if (known == MISS)
            return *length ? FOUND : MISS;
        if (known == FOUND)
            *length += append(out + *length, room - *length, p, each, &entry);
    }
    return *length || p->end ? FOUND : MISS; /* nothing left of this page, and others follow */
}

found tfs_listing_fill(listing *l, table *t, uint64_t directory, uint64_t cookie, uint32_t thread,
                   uint8_t *out, size_t room, size_t *length) {
    size_t at;
    found result = MISS;
    pthread_mutex_lock(&l->lock);
    const page *p = tfs_pages_find(&l->pages, directory, cookie, &at);
    if (p)
        result = fill(t, p, at, thread, out, room, length);
    pthread_mutex_unlock(&l->lock);
    return result;
}

static uint64_t stamped(uint64_t cookie, uint64_t stamp) {
    if (cookie >> STAMP_AT != STAMP_MASK)
        return cookie;
    return 1ULL << STAMPED_AT | (cookie ^ (STAMP_MASK ^ stamp) << STAMP_AT);
}

void tfs_listing_stamp(const listing *l, uint8_t *records, size_t length) {
    uint64_t stamp = l->changes & STAMP_MASK;
    for (size_t at = 0; at + FUSE_NAME_OFFSET_DIRENTPLUS <= length;) {
        struct fuse_direntplus *each = (void *)(records + at);
        each->dirent.off = stamped(each->dirent.off, stamp);
        at += FUSE_DIRENTPLUS_SIZE(each);
    }
}

uint64_t tfs_listing_cookie(uint64_t cookie) {
    return cookie >> STAMPED_AT == 1 ? (cookie ^ 1ULL << STAMPED_AT) | STAMP_MASK << STAMP_AT : cookie;
}
