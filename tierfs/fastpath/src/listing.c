/* A page says which names follow which. Whether a name is still there, and what it is, is looked up in
   the table when it is listed, while the kernel holds the directory locked (iterate_dir): so a page
   that is a little old never shows a name that is gone, from which the kernel would make a dentry. A
   name made since is behind the listing, as the newest come first (tierfs/index/entries.py). */
#include "listing.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGES = 64, /* directories that are listed at a time */
    DOTS = 2,   /* cookies of . and .. (tierfs/core/listing.py) */
    TYPE_SHIFT = 12,
};

/* A cookie is 2^62 less a number that nothing ever reaches (tierfs/index/entries.py): its upper bits are
   ones, and make room for a stamp. Others are of . and .. and stay as they are. */
static const unsigned STAMP_AT = 45, STAMPED_AT = 62;
static const uint64_t STAMP_MASK = (1 << 17) - 1;

struct listing {
    pthread_mutex_t lock;
    _Atomic uint64_t changes;
    page *pages[PAGES];
    size_t next;
};

listing *listing_new(void) {
    listing *l = calloc(1, sizeof *l);
    if (l && pthread_mutex_init(&l->lock, NULL)) {
        free(l);
        return NULL;
    }
    return l;
}

void page_free(page *gone) {
    if (gone)
        free(gone->names);
    free(gone);
}

void listing_free(listing *l) {
    if (!l)
        return;
    for (size_t i = 0; i < PAGES; i++)
        page_free(l->pages[i]);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* A page that a new one continues was listed to its end, and makes way for it. */
static size_t place_for(const listing *l, const page *added) {
    for (size_t i = 0; i < PAGES; i++) {
        const page *old = l->pages[i];
        bool is_before = old && old->directory == added->directory && old->count &&
                         old->entries[old->count - 1].cookie == added->after;
        if (is_before || (old && old->directory == added->directory && old->after == added->after))
            return i;
    }
    return l->next;
}

void listing_put(listing *l, page *added) {
    pthread_mutex_lock(&l->lock);
    size_t at = place_for(l, added);
    if (at == l->next)
        l->next = (l->next + 1) % PAGES;
    page *old = l->pages[at];
    l->pages[at] = added;
    pthread_mutex_unlock(&l->lock);
    page_free(old);
}

void listing_drop(listing *l, uint64_t directory) {
    pthread_mutex_lock(&l->lock);
    l->changes++;
    for (size_t i = 0; i < PAGES; i++) {
        if (l->pages[i] && l->pages[i]->directory == directory) {
            page_free(l->pages[i]);
            l->pages[i] = NULL;
        }
    }
    pthread_mutex_unlock(&l->lock);
}

/* The index of the entry behind `cookie`, or -1 when that is not on the page. Cookies grow. */
static ptrdiff_t position(const page *p, uint64_t cookie) {
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

static const page *find_page(const listing *l, uint64_t directory, uint64_t cookie, ptrdiff_t *at) {
    for (size_t i = 0; i < PAGES; i++) {
        const page *p = l->pages[i];
        if (!p || p->directory != directory || (*at = position(p, cookie)) < 0)
            continue;
        if ((size_t)*at < p->count || p->end)
            return p;
    }
    return NULL;
}

/* Dots bear no reference: the kernel makes no dentry of them (fuse_direntplus_link). */
static found entry_of(table *t, const page *p, const listed *each, struct fuse_entry_out *out) {
    *out = (struct fuse_entry_out){0};
    if (each->cookie <= DOTS)
        return FOUND;
    return table_lookup(t, p->directory, p->names + each->name, each->length, out);
}

static size_t append(uint8_t *out, const page *p, const listed *each,
                     const struct fuse_entry_out *entry) {
    struct fuse_direntplus *record = (struct fuse_direntplus *)(void *)out;
    uint32_t mode = entry->nodeid ? entry->attr.mode : each->mode;
    size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + each->length);
    memset(out, 0, size);
    record->entry_out = *entry;
    record->dirent.ino = entry->nodeid ? entry->nodeid : each->ino;
    record->dirent.off = each->cookie;
    record->dirent.namelen = each->length;
    record->dirent.type = mode >> TYPE_SHIFT & 0xf;
    memcpy(record->dirent.name, p->names + each->name, each->length);
    return size;
}

static found fill(table *t, const page *p, size_t at, uint8_t *out, size_t room, size_t *length) {
    for (*length = 0; at < p->count; at++) {
        const listed *each = &p->entries[at];
        struct fuse_entry_out entry;
        if (*length + FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + each->length) > room)
            return *length ? FOUND : MISS; /* length 0 would say that this is the end */
        found known = entry_of(t, p, each, &entry);
        if (known == MISS)
            return *length ? FOUND : MISS;
        if (known == FOUND)
            *length += append(out + *length, p, each, &entry);
    }
    return *length || p->end ? FOUND : MISS; /* nothing left of this page, and others follow */
}

found listing_fill(listing *l, table *t, uint64_t directory, uint64_t cookie, uint8_t *out,
                   size_t room, size_t *length) {
    ptrdiff_t at;
    found result = MISS;
    pthread_mutex_lock(&l->lock);
    const page *p = find_page(l, directory, cookie, &at);
    if (p)
        result = fill(t, p, (size_t)at, out, room, length);
    pthread_mutex_unlock(&l->lock);
    return result;
}

static uint64_t stamped(uint64_t cookie, uint64_t stamp) {
    if (cookie >> STAMP_AT != STAMP_MASK)
        return cookie;
    return 1ULL << STAMPED_AT | (cookie ^ (STAMP_MASK ^ stamp) << STAMP_AT);
}

void listing_stamp(const listing *l, uint8_t *records, size_t length) {
    uint64_t stamp = l->changes & STAMP_MASK;
    for (size_t at = 0; at + FUSE_NAME_OFFSET_DIRENTPLUS <= length;) {
        struct fuse_direntplus *each = (void *)(records + at);
        each->dirent.off = stamped(each->dirent.off, stamp);
        at += FUSE_DIRENTPLUS_SIZE(each);
    }
}

uint64_t listing_cookie(uint64_t cookie) {
    return cookie >> STAMPED_AT == 1 ? (cookie ^ 1ULL << STAMPED_AT) | STAMP_MASK << STAMP_AT : cookie;
}
